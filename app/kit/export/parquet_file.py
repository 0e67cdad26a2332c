"""A Parquet file in progress, as long as its rows need and never larger in memory than one group of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from tempfile import NamedTemporaryFile
from threading import Event
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from app.kit.export.model import ExportOptions, Heading, Row
from app.kit.export.parquet_column import TEXT, Misfit, arrow_type, as_text, typed
from app.kit.export.spool import Abandoned
from app.kit.export.value import encodable

SLICE_ROWS = 1000
GROUP_ROWS = 100_000
GROUP_BYTES = 8 << 20
"""A group of rows ends with the slice that reaches either; bytes are those of the columns before compression."""
PREFIX = "verbatim:"
"""Before the names of what the file says about itself among its key-value metadata."""


class ParquetFile:
    """See Draft."""

    def __init__(self, headings: Sequence[Heading], about: Mapping[str, str], options: ExportOptions) -> None:
        self._headings = headings
        self._about = about
        self._options = options
        self._fields = [
            pa.field(encodable(each.name), arrow_type(each.kind, options.tz), metadata={"label": encodable(each.label)})
            for each in headings
        ]
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0
        self._abandoned = Event()
        self._start()

    def add(self, batch: Iterable[Row]) -> None:
        rows = iter(batch)
        while some := list(islice(rows, SLICE_ROWS)):
            self._raise_if_abandoned()
            encoded = self._encoded(some)  # may replace what is pending
            self._pending.append(encoded)
            self._rows += len(some)
            if self._is_group_full():
                self._write_group()

    def finish(self) -> None:
        if self._pending or not self._rows:
            self._write_group()
        facts = {**self._about, "Rows": str(self._rows), "Time zone": self._options.tz}
        self._writer.add_key_value_metadata({PREFIX + encodable(k): encodable(v) for k, v in facts.items()})
        self._writer.close()

    def abandon(self) -> None:
        self._abandoned.set()

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._files.close()

    def _start(self) -> None:
        """Begin a file with the present types."""
        with ExitStack() as files:
            self._file: IO[bytes] = files.enter_context(NamedTemporaryFile(prefix="verbatim-", suffix=".parquet"))
            self._writer = pq.ParquetWriter(self._file.name, pa.schema(self._fields), compression="zstd")
            files.callback(self._writer.close)
            self._files = files.pop_all()

    def _encoded(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """The rows as columns; one that does not fit its type becomes text, from the first row on."""
        width = len(self._headings)
        if wrong := [len(row) for row in rows if len(row) != width]:
            raise ValueError(f"a row has {wrong[0]} values for {width} headings")
        columns = []
        for index, values in enumerate(zip(*rows, strict=True)):
            kind = self._headings[index].kind
            try:
                columns.append(typed(kind, values, self._fields[index].type))
            except Misfit:
                self._widen(index)
                columns.append(as_text(values))
        return pa.record_batch(columns, schema=pa.schema(self._fields))

    def _is_group_full(self) -> bool:
        rows: int = sum(batch.num_rows for batch in self._pending)
        size: int = sum(batch.nbytes for batch in self._pending)
        return rows >= GROUP_ROWS or size >= GROUP_BYTES

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._pending, pa.schema(self._fields))
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._pending.clear()

    def _widen(self, index: int) -> None:
        """Make the column text in what is written already, by writing it again group by group."""
        self._writer.close()
        written, former = self._file, self._files
        self._fields[index] = self._fields[index].with_type(TEXT)
        with former:
            self._start()
            for table in _groups(written):
                self._raise_if_abandoned()
                self._writer.write_table(_with_text(table, index, self._fields[index]), row_group_size=table.num_rows)
        self._pending = [
            batch.set_column(index, self._fields[index], as_text(batch.column(index).to_pylist()))
            for batch in self._pending
        ]

    def _raise_if_abandoned(self) -> None:
        if self._abandoned.is_set():
            raise Abandoned


def _groups(file: IO[bytes]) -> Iterator[pa.Table]:
    with pq.ParquetFile(file.name) as source:
        for number in range(source.num_row_groups):
            yield source.read_row_group(number)


def _with_text(table: pa.Table, index: int, field: pa.Field) -> pa.Table:
    return table.set_column(index, field, as_text(table.column(index).to_pylist()))
