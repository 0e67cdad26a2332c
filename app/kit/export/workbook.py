"""A workbook as its writers take it: sheets of typed cells, and how all sheets look.

A header of bold white on slate stays in sight. Every row is one line high and shows the beginning of its texts, so that
a hundred rows can be scanned at once, however long an answer is; wrapping is a click away. Numbers keep a distance from
the text right of them, times stand under their heading, and a fine line runs below each row. A printed sheet is as wide
as a landscape page and repeats its header.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from app.kit.export.xlsx_cell import Cell

HEADER_INK = "FFFFFF"
HEADER_FILL = "2F4858"
HEADER_POINTS = 21
RULE = "D5DDE3"
"""The header's colours and that of the line below each row, as RGB in hexadecimal; the header's height."""


@dataclass(frozen=True)
class Column:
    """A column of a sheet: `width` in characters, `number_format` in Excel's notation for numbers in it. Values
    aligned to the right are indented."""

    label: str
    width: int
    number_format: str | None = None
    align: Literal["left", "right"] | None = None


@dataclass(frozen=True)
class Sheet:
    """A sheet; `rows` is read once, after those of the sheets before it. `filtered`: with a filter over the rows."""

    name: str
    columns: Sequence[Column]
    rows: Iterable[Sequence[Cell]]
    filtered: bool = True


class WriteWorkbook(Protocol):
    """Write the sheets to the file at `path`, in constant memory; raises what reading the rows raises."""

    def __call__(self, path: Path, sheets: Sequence[Sheet]) -> None: ...
