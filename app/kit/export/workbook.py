"""A workbook as its writers take it: sheets of typed cells, each with a bold, frozen header and sensible widths."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.kit.export.xlsx_cell import Cell


@dataclass(frozen=True)
class Column:
    """A column of a sheet: `width` in characters, `number_format` in Excel's notation for numbers in it."""

    label: str
    width: int
    number_format: str | None = None


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
