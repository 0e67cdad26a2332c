"""Makes an upstream's pieces of text fit to be stored and sent: whole characters, a bounded length."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates, which UTF-8 and BSON cannot hold, as U+FFFD."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shorten(text: str, limit: int) -> str:
    """On one line, without control characters or lone surrogates, at most `limit` characters."""
    printable = "".join(char if char.isprintable() else " " for char in well_formed(text[: limit * 8]))
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class AnswerText:
    """The text of one answer, taken piece by piece; what comes out, joined, is at most `max_bytes` of UTF-8.

    A piece that ends with the first half of a surrogate pair waits with it for the next piece. At the limit the text
    is cut between two characters and `is_full` is set.
    """

    def __init__(self, max_bytes: int) -> None:
        self.is_full = False
        self._room = max_bytes
        self._held = ""

    def take(self, piece: str) -> str:
        """The text that can go out now that `piece` has arrived; may be empty."""
        if not self._held and piece.isascii() and len(piece) <= self._room:
            self._room -= len(piece)
            return piece
        text = self._held + piece
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return self._fit(well_formed(text.removesuffix(self._held)))

    def end(self) -> str:
        """What was still held back."""
        text, self._held = self._held, ""
        return self._fit(well_formed(text))

    def _fit(self, text: str) -> str:
        encoded = text.encode()
        if len(encoded) > self._room:
            self.is_full = True
            # Once it is full nothing may follow, not even a shorter character that would still fit.
            encoded, self._room = encoded[: self._room], 0
            return encoded.decode("utf-8", "ignore")
        self._room -= len(encoded)
        return text
