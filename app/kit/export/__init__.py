"""Export writers: rows in, the bytes of a file out, in constant memory and without blocking the event loop.

`FORMATS[name].stream(headings, batches, about, options)` promises:

- what is wrong with the headings raises at the call, before anything is sent;
- CSV and JSON Lines send each batch as it comes, the header with the first one: a source that is refused by its
  database sends no byte. An error later is raised to the consumer, which must then break the connection so that nobody
  takes the part for the whole;
- XLSX and Parquet send their first byte once the file is complete, so an error is never a truncated file;
- a consumer that stops early, by `aclose()` or by cancellation, leaves no thread, no file and no open source behind.
"""

from collections.abc import Mapping

from app.kit.export import csv_writer, jsonl_writer, parquet_writer, xlsx_writer
from app.kit.export.model import ExportOptions, Format, Heading, Row

__all__ = ["FORMATS", "ExportOptions", "Format", "Heading", "Row"]

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("csv", "text/csv; charset=utf-8", "csv", csv_writer.stream, can_continue=True),
        Format(
            "xlsx",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "xlsx",
            xlsx_writer.stream,
        ),
        Format("jsonl", "application/x-ndjson", "jsonl", jsonl_writer.stream, can_continue=True),
        Format(
            "parquet",
            "application/vnd.apache.parquet",
            "parquet",
            parquet_writer.stream,
            is_installed=parquet_writer.IS_INSTALLED,
        ),
    )
}
"""The formats by the name a client asks for."""
