"""JSON Lines: one conversation per line, read in constant memory.

`{"id", "title", "tags": [...], "messages": [{"role", "content"}]}`, and if present `created_at` of both (ISO 8601 or
Unix seconds), `model` and `metadata` of messages. Other fields are not read. Blank lines are counted and skipped. A bad
line is reported and does not touch the next one.
"""

import codecs
from collections.abc import Iterator
from typing import Any

import orjson

from app.imports.errors_file import as_it_came
from app.imports.fields import RefusedError
from app.imports.records import (
    BadRecord,
    ImportedConversation,
    ImportedMessage,
    Record,
    build_conversation,
    build_message,
)
from app.imports.streams import DamagedError, Entry

LINE_LIMIT = 64 * 1024 * 1024  # bytes


def read_lines(entry: Entry, first: int = 1) -> Iterator[Record]:
    """A record for each line that is not blank; the lines are counted from `first`."""
    for position, line in read_raw_lines(entry, first):
        yield line if isinstance(line, BadRecord) else _record(line, position)


def read_raw_lines(entry: Entry, first: int) -> Iterator[tuple[int, bytes | BadRecord]]:
    """The lines that are not blank with their positions, or what is wrong with them."""
    position = first
    try:
        while line := entry.readline(LINE_LIMIT + 1):
            if position == first:
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > LINE_LIMIT and not line.endswith(b"\n"):
                _skip_line(entry)
                yield position, BadRecord(position, f"The line is longer than {LINE_LIMIT:,} bytes")
            elif line.strip():
                yield position, line
            position += 1
    except DamagedError as error:
        yield position, BadRecord(position, f"Nothing could be read from here on: {error}")


def _skip_line(entry: Entry) -> None:
    piece = entry.readline(LINE_LIMIT)
    while piece and not piece.endswith(b"\n"):
        piece = entry.readline(LINE_LIMIT)


def _record(line: bytes, position: int) -> Record:
    try:
        return _conversation(decoded(line), position)
    except RefusedError as error:
        return BadRecord(position, str(error), as_text(line))


def as_text(line: bytes) -> str:
    """The line as it came, with escapes for bytes that are not UTF-8."""
    return line.decode(errors="backslashreplace").rstrip("\r\n")


def decoded(line: bytes) -> dict[str, Any]:
    """The object of the line; raises RefusedError."""
    try:
        # It refuses NaN, infinite numbers, half surrogates and bytes that are not UTF-8.
        value = as_it_came(orjson.loads(line), orjson.loads)
    except orjson.JSONDecodeError as error:
        raise RefusedError(f"The line is not valid JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(value, dict):
        raise RefusedError("The line is not a JSON object")
    return value


def _conversation(value: dict[str, Any], position: int) -> ImportedConversation:
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise RefusedError("The messages are missing or not a list")
    return build_conversation(
        position,
        source_id=value.get("id"),
        title=value.get("title"),
        tags=value.get("tags"),
        messages=[_message(each, number) for number, each in enumerate(messages, start=1)],
        created_at=value.get("created_at"),
    )


def _message(value: object, number: int) -> ImportedMessage:
    if not isinstance(value, dict):
        raise RefusedError(f"Message {number} is not an object")
    try:
        return build_message(
            value.get("role"),
            value.get("content"),
            created_at=value.get("created_at"),
            model=value.get("model"),
            metadata=value.get("metadata"),
        )
    except RefusedError as error:
        raise RefusedError(f"Message {number}: {error}") from error
