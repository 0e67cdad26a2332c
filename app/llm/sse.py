"""Server-sent events, read: bytes in as they arrive, the payload of each event out.

The same bytes give the same payloads however they were split. Time is linear in the bytes; memory is bounded by
`MAX_EVENT_BYTES`. Follows the WHATWG specification (LF, CRLF and CR; comments; several `data:` lines joined by LF;
a byte order mark; malformed UTF-8 becomes U+FFFD), but for one thing: `end()` also gives an event that the server
did not close with an empty line.
"""

import re
from collections.abc import Iterator

MAX_EVENT_BYTES = 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")
_KNOWN_FIELDS = frozenset((b"", b"event", b"id", b"retry"))
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """One event, or one line, is longer than `MAX_EVENT_BYTES`."""


class EventParser:
    """Collects the lines of one stream; `is_foreign` tells that it held lines which are no server-sent events."""

    def __init__(self) -> None:
        self.is_foreign = False
        self._line = bytearray()
        self._data: list[bytes] = []
        self._held = 0  # bytes of the data lines that wait for their event's end
        self._is_first_line = True
        self._ended_with_cr = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The payloads that `chunk` completes; raises `EventTooLargeError`. Exhaust it before the next call."""
        if not chunk:
            return
        if payloads := self._plain_events(chunk):
            yield from payloads
            return
        rest = chunk[1:] if self._ended_with_cr and chunk.startswith(b"\n") else chunk
        self._ended_with_cr = chunk.endswith(b"\r")
        *ended, begun = _LINE_END.split(rest)
        for tail in ended:
            yield from self._end_line(tail)
        self._hold(begun)

    def end(self) -> Iterator[str]:
        """The payload of the event that was not yet closed when the stream ended, if there is one."""
        yield from self._end_line(b"")
        yield from self._end_line(b"")

    def _plain_events(self, chunk: bytes) -> list[str] | None:
        """The payloads of a packet that is nothing but whole `data: ...` events, as most packets are; else None."""
        if (
            self._line
            or self._data
            or self._ended_with_cr
            or b"\r" in chunk
            or not chunk.endswith(b"\n\n")
            or len(chunk) > MAX_EVENT_BYTES
        ):
            return None
        events = chunk[:-2].split(b"\n\n")
        if not all(event.startswith(b"data: ") and b"\n" not in event for event in events):
            return None
        self._is_first_line = False
        return [event[6:].decode("utf-8", "replace") for event in events]

    def _hold(self, part: bytes) -> None:
        if self._held + len(self._line) + len(part) > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        self._line += part

    def _end_line(self, tail: bytes) -> Iterator[str]:
        self._hold(tail)
        line = bytes(self._line)
        self._line.clear()
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = False
        if line:
            self._take_field(line)
        elif self._data:
            yield b"\n".join(self._data).decode("utf-8", "replace")
            self._data.clear()
            self._held = 0

    def _take_field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._held += len(line) + 1
        elif field not in _KNOWN_FIELDS:
            self.is_foreign = True
