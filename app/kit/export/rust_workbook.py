"""Workbooks written by rustpy-xlsxwriter: some twenty times faster than openpyxl, and outside of the interpreter's lock
while it compresses."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rustpy_xlsxwriter import Format, write_worksheets

from app.kit.export.workbook import Sheet
from app.kit.export.xlsx_cell import Cell


def write_workbook(path: Path, sheets: Sequence[Sheet]) -> None:
    """See WriteWorkbook."""
    write_worksheets(
        [(sheet.name, _records(sheet)) for sheet in sheets],
        path,
        freeze_panes={"general": {"row": 1}},
        header_format={sheet.name: Format().set_bold() for sheet in sheets},
        autofilter={sheet.name: sheet.filtered for sheet in sheets},
        column_widths={sheet.name: {column.label: float(column.width) for column in sheet.columns} for sheet in sheets},
        column_formats={
            sheet.name: {
                column.label: Format().set_num_format(column.number_format)
                for column in sheet.columns
                if column.number_format
            }
            for sheet in sheets
        },
    )


def _records(sheet: Sheet) -> Iterator[dict[str, Cell]]:
    """The writer takes the header from the first record, so a sheet without rows gets an empty one."""
    labels = [column.label for column in sheet.columns]
    rows = iter(sheet.rows)
    yield dict(zip(labels, next(rows, [None] * len(labels)), strict=True))
    for row in rows:
        yield dict(zip(labels, row, strict=True))
