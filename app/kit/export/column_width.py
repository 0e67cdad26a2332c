"""Widths of a sheet's columns, from what the first rows hold: an analyst sees short values whole and the start of long
ones, and nobody drags borders before reading."""

from collections.abc import Sequence
from unicodedata import east_asian_width

from app.kit.export.xlsx_cell import Cell
from app.kit.resource import Kind

SAMPLE_ROWS = 1000
NARROWEST, WIDEST = 6, 64
"""Characters."""
_SCAN = 200
"""Characters of a text that are looked at; its first line that is longer than the widest column settles the width."""
_FILTER = 4
"""What the button of a filter covers, and a margin."""
_SHOWN: dict[Kind, int] = {"instant": 20, "date": 11, "boolean": 6}
"""Widths of what a number format shows, whatever the number."""


def header_width(label: str) -> int:
    return max(NARROWEST, _width(label) + _FILTER)


class SampledWidths:
    """Measures the first rows; `width` then fits what they hold."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._shown = [_SHOWN.get(kind, 0) for kind in kinds]
        self._widest = list(self._shown)
        self._rows = 0

    def see(self, columns: Sequence[Sequence[Cell]]) -> None:
        """Look at the next rows, of which the cells of each column are given."""
        wanted = SAMPLE_ROWS - self._rows
        if wanted <= 0:
            return
        self._rows += len(columns[0])
        for index, column in enumerate(columns):
            for cell in column[:wanted]:
                if cell is not None and not (self._shown[index] and isinstance(cell, float)):
                    self._widest[index] = max(self._widest[index], _width(str(cell)))

    def width(self, column: int) -> int:
        """Characters: the widest value with room on both sides."""
        return min(self._widest[column] + 2, WIDEST)


def _width(text: str) -> int:
    """Of the longest line among the first characters; those of East Asian scripts and emoji are two wide."""
    if text.isascii():
        return max(map(len, text[:_SCAN].split("\n")))
    return max(sum(1 + (east_asian_width(each) in "WF") for each in line) for line in text[:_SCAN].split("\n"))
