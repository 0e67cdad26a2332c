"""Parquet: typed columns under the names of the API, compressed with zstd; the file says about itself what a workbook's
sheet About says.

pyarrow is an optional dependency of 170 MB, and loading it takes 50 MiB of memory and a third of a second: that happens
in the thread of the first export that needs it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec

from app.kit.errors import Invalid
from app.kit.export.model import ExportOptions, Heading, Row, require_unique
from app.kit.export.spool import Draft, completed

IS_INSTALLED = find_spec("pyarrow") is not None


def stream(
    headings: Sequence[Heading],
    batches: AsyncIterator[Iterable[Row]],
    about: Mapping[str, str],
    options: ExportOptions,
) -> AsyncGenerator[bytes, None]:
    """The file in chunks of 256 KiB, once it is complete. Raises Invalid where pyarrow is not installed."""
    if not IS_INSTALLED:
        raise Invalid("Parquet needs pyarrow, which is not installed on the server: pip install 'verbatim[parquet]'.")
    require_unique("the names", (each.name for each in headings))
    return completed(partial(_draft, headings, about, options), batches)


def _draft(headings: Sequence[Heading], about: Mapping[str, str], options: ExportOptions) -> Draft:
    from app.kit.export.parquet_file import ParquetFile  # noqa: PLC0415 - see above

    return ParquetFile(headings, about, options)
