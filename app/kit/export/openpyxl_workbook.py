"""The same workbooks written by openpyxl, for platforms without a wheel of rustpy-xlsxwriter: slower, equal cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from app.kit.export.workbook import Column, Sheet
from app.kit.export.xlsx_cell import Cell, escape

_PADDING = 0.7109375
"""What a sheet adds to a width in characters for the cell's margins, with Excel's default font."""


def write_workbook(path: Path, sheets: Sequence[Sheet]) -> None:
    """See WriteWorkbook."""
    workbook = Workbook(write_only=True)
    written = []
    try:
        for sheet in sheets:
            written.append(workbook.create_sheet(sheet.name))
            _write_sheet(written[-1], sheet)
        workbook.save(path)
    except BaseException:
        _discard(written)
        raise


def _write_sheet(target: Any, sheet: Sheet) -> None:
    target.freeze_panes = "A2"
    for number, column in enumerate(sheet.columns, 1):
        target.column_dimensions[get_column_letter(number)].width = column.width + _PADDING
    bold = Font(bold=True)
    header = [_cell(target, "s", escape(column.label)) for column in sheet.columns]
    for cell in header:
        cell.font = bold
    target.append(header)
    rows = 0
    for row in sheet.rows:
        target.append([_typed(target, column, value) for column, value in zip(sheet.columns, row, strict=True)])
        rows += 1
    if sheet.filtered:
        target.auto_filter.ref = f"A1:{get_column_letter(len(sheet.columns))}{max(rows, 1) + 1}"


def _typed(target: Any, column: Column, value: Cell) -> Any:
    match value:
        case None | "":
            return None
        case str():
            return _cell(target, "s", escape(value))
        case bool():
            return _cell(target, "b", str(int(value)))
    cell = _cell(target, "n", repr(value))
    if column.number_format:
        cell.number_format = column.number_format
    return cell


def _cell(target: Any, data_type: str, text: str) -> Any:
    """A cell whose type and text are final. Set past openpyxl's setter, which makes formulas and errors of some texts,
    counts escapes against Excel's limit of a cell and cuts numbers to 16 digits."""
    cell = WriteOnlyCell(target)
    cell.data_type = data_type
    cell._value = text  # noqa: SLF001
    return cell


def _discard(written: Sequence[Any]) -> None:
    """Remove the temporary files of sheets that will not be saved; openpyxl itself would do it at exit only."""
    for target in written:
        if not target.closed:
            target.close()
        writer = target._writer  # noqa: SLF001
        if Path(writer.out).exists():
            writer.cleanup()
