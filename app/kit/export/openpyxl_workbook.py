"""The same workbooks written by openpyxl, for platforms without a wheel of rustpy-xlsxwriter: slower, equal cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.rich_text import CellRichText
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.xml.constants import XML_NS
from openpyxl.xml.functions import Element, SubElement

from app.kit.export.workbook import HEADER_FILL, HEADER_INK, HEADER_POINTS, RULE, Column, Sheet
from app.kit.export.xlsx_cell import Cell, escape

_PADDING = 0.7109375
"""What a sheet adds to a width in characters for the cell's margins, with Excel's default font."""
_RULE = Border(bottom=Side("thin", color=f"FF{RULE}"))


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
    _lay_out(target)
    styles = [_style(target, column) for column in sheet.columns]
    for number, (column, style) in enumerate(zip(sheet.columns, styles, strict=True), 1):
        dimension = target.column_dimensions[get_column_letter(number)]
        dimension.width, dimension._style = column.width + _PADDING, style  # noqa: SLF001
    header = _header_style(target)
    target.append([_cell(target, "s", escape(column.label), header) for column in sheet.columns])
    rows = 0
    for row in sheet.rows:
        target.append([_typed(target, value, style) for value, style in zip(row, styles, strict=True)])
        rows += 1
    if sheet.filtered:
        target.auto_filter.ref = f"A1:{get_column_letter(len(sheet.columns))}{max(rows, 1) + 1}"


def _lay_out(target: Any) -> None:
    target.freeze_panes = "A2"
    target.sheet_view.showGridLines = False
    target.row_dimensions[1].height = HEADER_POINTS
    target.page_setup.orientation = "landscape"
    target.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    target.page_setup.fitToHeight = 0
    target.print_title_rows = "1:1"


def _header_style(target: Any) -> Any:
    cell = WriteOnlyCell(target)
    cell.font = Font(bold=True, color=f"FF{HEADER_INK}")
    cell.fill = PatternFill("solid", fgColor=f"FF{HEADER_FILL}")
    cell.alignment = Alignment(vertical="center")
    return cell._style  # noqa: SLF001


def _style(target: Any, column: Column) -> Any:
    """The style of a column's cells, shared by them: looking it up for each one takes most of the time."""
    cell = WriteOnlyCell(target)
    cell.alignment = Alignment(horizontal=column.align, vertical="top", indent=int(column.align == "right"))
    cell.border = _RULE
    if column.number_format:
        cell.number_format = column.number_format
    return cell._style  # noqa: SLF001


def _typed(target: Any, value: Cell, style: Any) -> Any:
    match value:
        case None | "":
            return None
        case str():
            return _cell(target, "s", escape(value), style)
        case bool():
            return _cell(target, "b", str(int(value)), style)
    return _cell(target, "n", repr(value), style)


def _cell(target: Any, data_type: str, text: str, style: Any) -> Any:
    """A cell whose type and text are final. Set past openpyxl's setter, which makes formulas and errors of some texts,
    counts escapes against Excel's limit of a cell and cuts numbers to 16 digits."""
    cell = WriteOnlyCell(target)
    cell.data_type = data_type
    cell._value = _Spaces([text]) if text.isspace() else text  # noqa: SLF001
    cell._style = style  # noqa: SLF001
    return cell


class _Spaces(CellRichText):  # type: ignore[misc]  # openpyxl has no types
    """A text of nothing but spaces, which openpyxl by itself writes unmarked, so that readers drop them."""

    def to_tree(self) -> Any:
        tree = Element("is")
        text = SubElement(tree, "t", {f"{{{XML_NS}}}space": "preserve"})
        text.text = "".join(self)
        return tree


def _discard(written: Sequence[Any]) -> None:
    """Remove the temporary files of sheets that will not be saved; openpyxl itself would do it at exit only."""
    for target in written:
        if not target.closed:
            target.close()
        writer = target._writer  # noqa: SLF001
        if Path(writer.out).exists():
            writer.cleanup()
