"""CSV by RFC 4180 in UTF-8: CRLF, quotes doubled, a header; a byte order mark, without which Excel misreads UTF-8.

Spreadsheets run a cell as a formula by its first character, quoted or not. Text that begins with one of them gets a
leading apostrophe; `raw` leaves it and the byte order mark out, for machines that want the text as it is. Numbers and
times are typed by us and never touched.
"""

import csv
import re
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from io import StringIO

from bson import ObjectId

from app.kit.export.model import ExportOptions, Heading, Row, require_unique
from app.kit.export.value import Encoders, instant_text, json_text
from app.kit.export.worker import encoded

PIECE_CHARACTERS = 1 << 20
_FORMULA = re.compile(r'"*[=+\-@\t\r\0＝＋－＠]')


def stream(
    headings: Sequence[Heading],
    batches: AsyncIterator[Sequence[Row]],
    about: Mapping[str, str],  # noqa: ARG001 - CSV has no place for it
    options: ExportOptions,
) -> AsyncGenerator[bytes, None]:
    """The file in pieces of about 1 MiB; the header comes before the first batch is asked for."""
    require_unique("the labels", (each.label for each in headings))
    encoders = _RAW if options.raw else _GUARDED
    pieces = partial(_pieces, encoders, len(headings))
    head = b"".join(pieces([[each.label for each in headings]]))
    return encoded(batches, pieces, head if options.raw else BOM_UTF8 + head)


def guarded(text: str) -> str:
    """`text` with an apostrophe before it when a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _encoders(text: Callable[[str], str]) -> Encoders:
    return Encoders(
        {
            type(None): lambda _: "",
            str: text,
            bool: lambda value: "true" if value else "false",
            int: str,
            float: repr,
            datetime: instant_text,
            date: date.isoformat,
            ObjectId: str,
            list: json_text,
            tuple: json_text,
            dict: json_text,
        }
    )


_RAW = _encoders(str)
_GUARDED = _encoders(guarded)


def _pieces(encoders: Encoders, width: int, rows: Sequence[Row]) -> Iterator[bytes]:
    """The rows encoded, in pieces that end with the row that fills them."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer)
    for row in rows:
        if len(row) != width:
            raise ValueError(f"a row has {len(row)} values for {width} headings")
        writer.writerow([encoders[type(value)](value) for value in row])
        if buffer.tell() >= PIECE_CHARACTERS:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()
