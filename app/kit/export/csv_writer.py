"""CSV by RFC 4180 in UTF-8: CRLF, quotes doubled, a header; a byte order mark, without which Excel misreads UTF-8.

Spreadsheets run a cell as a formula by its first character, quoted or not. Text that begins with one of them gets a
leading apostrophe; `raw` leaves it and the byte order mark out, for machines that want the text as it is. Numbers and
times are typed by us and never touched.
"""

import re
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial

from bson import ObjectId

from app.kit.export.model import ExportOptions, Heading, Row, require_unique
from app.kit.export.value import Encoders, instant_text, json_text
from app.kit.export.worker import encoded

PIECE_CHARACTERS = 1 << 20
_SUSPECTS = frozenset('"=+-@\t\r\0＝＋－＠')
_FORMULA = re.compile(r'"*[=+\-@\t\r\0＝＋－＠]')


def stream(
    headings: Sequence[Heading],
    batches: AsyncIterator[Iterable[Row]],
    about: Mapping[str, str],  # noqa: ARG001 - CSV has no place for it
    options: ExportOptions,
) -> AsyncGenerator[bytes, None]:
    """The file in pieces of about 1 MiB; the header comes with the first of them."""
    require_unique("the labels", (each.label for each in headings))
    encoders = _RAW if options.raw else _GUARDED
    pieces = partial(_pieces, encoders, len(headings))
    head = b"".join(pieces([[each.label for each in headings]]))
    if options.continues:
        return encoded(batches, pieces, b"")
    return encoded(batches, pieces, head if options.raw else BOM_UTF8 + head)


def guarded(text: str) -> str:
    """`text` with an apostrophe before it when a spreadsheet would run it as a formula."""
    return f"'{text}" if text[:1] in _SUSPECTS and _FORMULA.match(text) else text


def quoted(text: str) -> str:
    """`text` in quotes when it holds what would end a cell."""
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return f'"{text}"' if "," in text or "\n" in text or "\r" in text else text


def _guarded_text(text: str) -> str:
    return quoted(guarded(text))


def _json(value: object) -> str:
    return quoted(json_text(value))


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
            list: _json,
            tuple: _json,
            dict: _json,
        }
    )


_RAW = _encoders(quoted)
_GUARDED = _encoders(_guarded_text)


def _pieces(encoders: Encoders, width: int, rows: Iterable[Row]) -> Iterator[bytes]:
    """The rows encoded, in pieces that end with the row that fills them."""
    lines: list[str] = []
    characters = 0
    for row in rows:
        if len(row) != width:
            raise ValueError(f"a row has {len(row)} values for {width} headings")
        # A line of one empty cell would read as no line.
        lines.append(",".join([encoders[type(value)](value) for value in row]) or '""')
        characters += len(lines[-1])
        if characters >= PIECE_CHARACTERS:
            yield _encode(lines)
            lines, characters = [], 0
    yield _encode(lines)


def _encode(lines: Sequence[str]) -> bytes:
    return "".join([f"{line}\r\n" for line in lines]).encode()
