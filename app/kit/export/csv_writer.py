"""CSV by RFC 4180 in UTF-8: CRLF, quotes doubled, a header; a byte order mark, without which Excel misreads UTF-8.

Spreadsheets run a cell as a formula by its first character, quoted or not. Text that begins with one of them, also
behind spaces or line breaks that an import may trim, gets a leading apostrophe; `raw` leaves it and the byte order mark
out, for machines that want the text as it is. Numbers and times are typed by us and never touched. Instants are RFC
3339, with the offset of the zone that was asked for.
"""

import re
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from app.kit.export.model import ExportOptions, Heading, Row, grouped, require_unique
from app.kit.export.value import PLAIN, Encoder, Encoders, encodable, instant_text_in, json_text
from app.kit.export.worker import encoded

PIECE_CHARACTERS = 1 << 20
_SPACES = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
_SUSPECTS = frozenset('"\0=+-@＝＋－＠' + _SPACES)
_FORMULA = re.compile(r'["\s\0]*[=+\-@＝＋－＠]|"*[\t\r\0]')


def stream(
    headings: Sequence[Heading],
    batches: AsyncIterator[Iterable[Row]],
    about: Mapping[str, str],  # noqa: ARG001 - CSV has no place for it
    options: ExportOptions,
) -> AsyncGenerator[bytes, None]:
    """The file in pieces of about 1 MiB; the header comes with the first of them."""
    require_unique("the labels", (each.label for each in headings))
    text = _text(options)
    head = _encode([",".join([text(each.label) for each in headings])])
    pieces = partial(_pieces, options, len(headings))
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


def _text(options: ExportOptions) -> Callable[[str], str]:
    return quoted if options.raw else _guarded_text


def _encoders(options: ExportOptions) -> Encoders:
    cells: dict[type, Encoder] = {type(None): lambda _: "", str: _text(options), list: _json, tuple: _json, dict: _json}
    return Encoders({**PLAIN, **cells, datetime: instant_text_in(options.zone)})


def _pieces(options: ExportOptions, width: int, rows: Iterable[Row]) -> Iterator[bytes]:
    """The rows encoded, in pieces that end with the row that fills them."""
    encoders = _encoders(options)
    lines: list[str] = []
    characters = 0
    for group in grouped(rows, width):
        columns = [encoders.column(values) for values in zip(*group, strict=True)]
        for line in map(",".join, zip(*columns, strict=True)):
            lines.append(line or '""')  # a line of one empty cell would read as no line
            characters += len(line)
            if characters >= PIECE_CHARACTERS:
                yield _encode(lines)
                lines, characters = [], 0
    yield _encode(lines)


def _encode(lines: Sequence[str]) -> bytes:
    text = "".join([f"{line}\r\n" for line in lines])
    try:
        return text.encode()
    except UnicodeEncodeError:
        return encodable(text).encode()
