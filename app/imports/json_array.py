"""The items of one large JSON array, or of objects one after the other, decoded one at a time: memory holds one item,
not the file."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from app.imports.streams import Entry

CHUNK = 1024 * 1024  # bytes
ITEM_LIMIT = 64 * 1024 * 1024  # characters
LONGEST_TOKEN = 16  # characters, rounded up; it is -Infinity, and \uXXXX in strings

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


class BrokenArrayError(Exception):
    """What follows cannot be found in this array; the text says what is wrong."""


class ItemReader:
    """Iterates over the decoded items; raises `BrokenArrayError` at the first that cannot be, and `DamagedError`.

    Bytes that are not UTF-8 become lone surrogates, so that they spoil the text they stand in and not the array. NaN
    and infinite numbers come as floats: whoever uses numbers has to look.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._window = ""
        self._at = 0
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        mark = self._next_mark()
        if mark == "{":
            yield from self._sequence()
            return
        if mark != "[":
            raise BrokenArrayError("it begins neither with '[' nor with '{'")
        self._at += 1
        if self._next_mark() == "]":
            self._at += 1
        else:
            yield from self._items()
        if self._next_mark():
            raise BrokenArrayError("there is more text after the end of the array")

    def _sequence(self) -> Iterator[Any]:
        """Objects with nothing but space between them, a line each or not."""
        while mark := self._next_mark():
            if mark != "{":
                raise BrokenArrayError(f"an object does not begin with {mark!r}")
            yield self._item()

    def _items(self) -> Iterator[Any]:
        mark = ","
        while mark == ",":
            yield self._item()
            mark = self._next_mark()
            self._at += 1
        if mark != "]":
            raise BrokenArrayError(f"',' or ']' is missing before {mark!r}" if mark else "the file ends in the array")

    def _item(self) -> Any:
        self._next_mark()
        while True:
            try:
                item, end = _DECODER.raw_decode(self._window, self._at)
                # Of all values only a number could go on in what was not read yet.
                if end < len(self._window) or self._ended or not isinstance(item, int | float):
                    self._at = end
                    return item
            except json.JSONDecodeError as error:
                if self._ended or not self._is_unfinished(error):
                    raise BrokenArrayError(f"it is not valid JSON: {error.msg}") from error
                if len(self._window) - self._at > ITEM_LIMIT:
                    raise BrokenArrayError(f"it is longer than {ITEM_LIMIT:,} characters") from error
            except (ValueError, RecursionError) as error:
                raise BrokenArrayError(f"it cannot be decoded: {error}") from error
            self._grow()

    def _is_unfinished(self, error: json.JSONDecodeError) -> bool:
        """Whether more text may mend the error: the window ends in a string, or in a token at its very end."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self._window) - LONGEST_TOKEN

    def _next_mark(self) -> str:
        """The next character that is not space, not yet consumed; empty at the end."""
        while True:
            if space := _SPACE.match(self._window, self._at):
                self._at = space.end()
            if self._at < len(self._window):
                return self._window[self._at]
            if self._ended:
                return ""
            self._grow()

    def _grow(self) -> None:
        """Doubles what is not consumed yet, so that decoding an item again after each growth stays linear in total."""
        rest = self._window[self._at :]
        data = self._entry.read(max(CHUNK, len(rest)))
        self._ended = not data
        self._window = rest + self._decoder.decode(data, final=self._ended)
        self._at = 0
