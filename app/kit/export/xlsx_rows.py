"""Rows of a sheet as SpreadsheetML, a group of rows at a time and within it column by column.

A group becomes text by one template for all of its rows: where a column holds values of one type, its cells are part of
the template, so that the interpreter is not entered for a cell. That, and XML that nobody has to build a tree for, is
what makes workbooks fast.

A text beyond the limit of a cell is continued in further columns, and how many there will be is known with the last row
only. Until then their cells are named provisionally: `F.1.7` is the first one behind F in row 7. `finally_named` gives
all cells the names that they have in the sheet.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest

from app.kit.export.value import is_empty
from app.kit.export.xlsx_cell import ALWAYS_FITS, Cell, escape, parts

BLOCK_CHARACTERS = 4 << 20
"""Rows are made into text together while their longest texts could not be more."""
_NOTHING = {type(None)}
_FORMS: Mapping[type, str] = {
    str: '<c r="{}%s" s="{}" t="inlineStr"><is><t>%s</t></is></c>',
    bool: '<c r="{}%s" s="{}" t="b"><v>%d</v></c>',
    int: '<c r="{}%s" s="{}"><v>%s</v></c>',
    float: '<c r="{}%s" s="{}"><v>%s</v></c>',
}
"""A cell by the type of its value: column and style are filled in for all rows, then row and value for each."""
_NAME = re.compile(rb'(?<=<c r=")[A-Z]+(?:\.\d+\.)?')
_BETWEEN = "\0"
"""Between texts that are escaped together; no cell holds it."""


def column_name(index: int) -> str:
    """A for 0, AA for 26."""
    name = ""
    while index >= 0:
        index, letter = divmod(index, 26)
        name, index = chr(ord("A") + letter) + name, index - 1
    return name


def header_row(labels: Sequence[str], style: int, height: int) -> str:
    """The first row of a sheet."""
    form = _FORMS[str].format
    cells = [form(column_name(index), style) % (1, label) for index, label in enumerate(_escaped([*labels])[0])]
    return f'<row r="1" ht="{height}" customHeight="1">{"".join(cells)}</row>'


class RowEncoder:
    """Makes rows of cells, and knows what of them is continued: `parts` is the number of cells that the longest text of
    each column takes."""

    def __init__(self, styles: Sequence[int]) -> None:
        """`styles`: of the columns' cells."""
        self._styles = styles
        self.parts = [1] * len(styles)

    def blocks(self, first: int, columns: Sequence[Sequence[Cell]]) -> Iterator[bytes]:
        """The rows from number `first` on, as blocks of whole rows."""
        rows = len(columns[0])
        filled = [(index, column, _longest(column)) for index, column in enumerate(columns) if not is_empty(column)]
        if rows > 1 and max((longest for _, _, longest in filled), default=0) * rows > BLOCK_CHARACTERS:
            half = rows // 2
            yield from self.blocks(first, [column[:half] for column in columns])
            yield from self.blocks(first + half, [column[half:] for column in columns])
            return
        numbers = list(map(str, range(first, first + rows)))
        template = ['<row r="%s">']
        arguments: list[Sequence[object]] = [numbers]
        for index, column, longest in filled:
            for name, cells in self._named(index, column, longest):
                form, values = _cells(name, self._styles[index], numbers, cells)
                template.append(form)
                arguments += values
        template.append("</row>")
        yield "".join(map("".join(template).__mod__, zip(*arguments, strict=True))).encode()

    def finally_named(self, block: bytes) -> bytes:
        """A block with the cells' names in the sheet, which tell from all blocks how many columns there are."""
        if max(self.parts) == 1:
            return block
        names = self._final_names()
        return _NAME.sub(lambda found: names[found[0]], block)

    def _final_names(self) -> Mapping[bytes, bytes]:
        provisional = [_name(index, part) for index, most in enumerate(self.parts) for part in range(most)]
        return {name.encode(): column_name(index).encode() for index, name in enumerate(provisional)}

    def _named(self, index: int, column: Sequence[Cell], longest: int) -> Iterator[tuple[str, Sequence[Cell]]]:
        """The column and those that continue it, by their provisional names."""
        if longest <= ALWAYS_FITS:
            yield _name(index, 0), column
            return
        pieces = [parts(cell) if isinstance(cell, str) else [cell] for cell in column]
        continued = list(zip_longest(*pieces))
        self.parts[index] = max(self.parts[index], len(continued))
        for part, cells in enumerate(continued):
            yield _name(index, part), cells


def _name(index: int, part: int) -> str:
    return column_name(index) + (f".{part}." if part else "")


def _longest(column: Sequence[Cell]) -> int:
    """The length of its longest text."""
    if type(column[0]) is str:
        with suppress(TypeError):  # the usual case, found in a quarter of the time: nothing but texts
            return max(map(len, column))  # type: ignore[arg-type]
    return max((len(cell) for cell in column if type(cell) is str), default=0)


def _cells(name: str, style: int, numbers: Sequence[str], column: Sequence[Cell]) -> tuple[str, list[Sequence[object]]]:
    """What a column adds to the rows' template, and the arguments that this takes."""
    kinds = set(map(type, column))
    forms = {kind: _FORMS[kind].format(name, style) for kind in kinds - _NOTHING}
    if str in kinds:
        texts = [cell for cell in column if type(cell) is str]
        escaped, is_spaced = _escaped(texts)
        if is_spaced:  # else readers may drop spaces around a text
            forms[str] = forms[str].replace("<t>", '<t xml:space="preserve">')
        if len(kinds) == 1 and "" not in column:
            return forms[str], [numbers, escaped]
        rest = iter(escaped)
        column = [next(rest) if type(cell) is str else cell for cell in column]
    elif len(kinds) == 1:
        return forms.popitem()[1], [numbers, column]
    cells = [
        "" if cell is None or cell == "" else forms[type(cell)] % (number, cell)
        for number, cell in zip(numbers, column, strict=True)
    ]
    return "%s", [cells]


def _escaped(texts: list[str]) -> tuple[list[str], bool]:
    """The texts as XML has them, and whether one of them has spaces around it. All are searched and changed at once."""
    joined = _BETWEEN.join(texts)
    is_spaced = list(map(str.strip, texts)) != texts
    if "_x" in joined:
        joined = escape(joined)
    if "&" in joined or "<" in joined or ">" in joined:
        joined = joined.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return joined.split(_BETWEEN), is_spaced
