"""Workbooks written by rustpy-xlsxwriter: some twenty times faster than openpyxl, and outside of the interpreter's lock
while it compresses."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rustpy_xlsxwriter import Format, write_worksheets

from app.kit.export.workbook import HEADER_FILL, HEADER_INK, HEADER_POINTS, RULE, Column, Sheet
from app.kit.export.xlsx_cell import Cell

_PAGE = {"landscape": True, "fit_to_pages": (1, 0), "repeat_rows": 0}


def write_workbook(path: Path, sheets: Sequence[Sheet]) -> None:
    """See WriteWorkbook."""
    header = Format().set_bold().set_font_color(HEADER_INK).set_background_color(HEADER_FILL).set_align("vcenter")
    write_worksheets(
        [(sheet.name, _records(sheet)) for sheet in sheets],
        path,
        freeze_panes={"general": {"row": 1}},
        header_format={sheet.name: header for sheet in sheets},
        row_heights={sheet.name: {0: float(HEADER_POINTS)} for sheet in sheets},
        autofilter={sheet.name: sheet.filtered for sheet in sheets},
        column_widths={sheet.name: {column.label: float(column.width) for column in sheet.columns} for sheet in sheets},
        column_formats={sheet.name: {column.label: _format(column) for column in sheet.columns} for sheet in sheets},
        sheet_view={sheet.name: {"gridlines": False} for sheet in sheets},
        page_setup={sheet.name: _PAGE for sheet in sheets},
    )


def _format(column: Column) -> Format:
    style = Format().set_align("top").set_border_bottom("thin").set_border_bottom_color(RULE)
    if column.align:
        style = style.set_align(column.align).set_indent(int(column.align == "right"))
    return style.set_num_format(column.number_format) if column.number_format else style


def _records(sheet: Sheet) -> Iterator[dict[str, Cell]]:
    """The writer takes the header from the first record, so a sheet without rows gets an empty one."""
    labels = [column.label for column in sheet.columns]
    rows = iter(sheet.rows)
    yield dict(zip(labels, next(rows, [None] * len(labels)), strict=True))
    for row in rows:
        yield dict(zip(labels, row, strict=True))
