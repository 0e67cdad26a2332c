"""Terms: the parts of a text that are looked up.

At each place of the folded text begins one: of a character that can be a word of its own (Chinese, Japanese, Korean,
emoji) that character and the pair with the next one; of any other the three characters from there. What a text
contains has no other terms than the text, so a row that lacks a term of what is sought cannot match. A text whose
normal form is another has the terms of both. Its edges count as characters of it, so that what has to stand at the
beginning or the end is looked up there.

Parts of patterns like `[0-9]` have no such term, and nothing is as often asked for beside a word: a term of its own
tells which texts have a digit.
"""

import re
from collections.abc import Iterable

from bson import ObjectId

from app.kit.literals import END, START
from app.kit.windows import fold

LONGEST_TEXT = 50_000
"""Of a longer text nothing is told but that it is long: such rows are candidates of every search."""

LONG = b"\0l"
"""The term of long texts. No term of a text begins like those below: a NUL cannot be searched for."""

_WITH_DIGIT = "\0d"
DIGIT = _WITH_DIGIT.encode()
"""The term of texts that have a digit, `0` to `9`."""
_HAS_DIGIT = re.compile("[0-9]").search

_ENDS_OF_LINES = ("\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029")


def owner_term(id: ObjectId) -> bytes:
    """The term of all rows of an owner."""
    return b"\0o" + id.binary


def group_term(id: ObjectId) -> bytes:
    """The term of all rows that are removed together (of messages: a conversation's)."""
    return b"\0g" + id.binary


def terms_of_text(text: str, form: str | None = None) -> Iterable[str]:
    """What can be looked up to find the text, or its normal form if that is another, each once."""
    if len(text) > LONGEST_TEXT:
        return ()
    terms = _terms_with_edges(fold(text))
    if form is not None:
        terms |= _terms_with_edges(fold(form))
    if _HAS_DIGIT(text if form is None else form):
        terms.add(_WITH_DIGIT)
    return terms


def _terms_with_edges(folded: str) -> set[str]:
    whole = f"{START}{folded}{END}"
    terms = _of_ascii(whole) if folded.isascii() else set(_in_order(whole))
    if folded.endswith(_ENDS_OF_LINES):  # a pattern's end may be before it
        for line in (folded[:-1], folded.removesuffix("\r\n")):
            terms.update(_in_order(f"{START}{line}"[-2:] + END))
    return terms


def _of_ascii(whole: str) -> set[str]:
    """The same as in order, by far the fastest way."""
    return {whole[start : start + 3] for start in range(len(whole) - 2)}


def terms_of_literal(folded: str) -> list[bytes]:
    """What a text that contains the folded literal has, in the order of its places, each once. Of a literal that is too
    short, with a digit in it, only that."""
    terms = [term.encode() for term in _in_order(folded)]
    return terms or [DIGIT] * (_HAS_DIGIT(folded) is not None)


def is_at_edge(term: bytes) -> bool:
    """Whether it stands for the beginning or the end of a text."""
    return term.startswith(START.encode()) or term.endswith(END.encode())


def _in_order(folded: str) -> dict[str, None]:
    terms: dict[str, None] = {}
    last = len(folded) - 1
    for start, character in enumerate(folded):
        if _IS_A_WORD[character]:
            terms[character] = None
            if start < last:
                terms[folded[start : start + 2]] = None
        elif start < last and character == START and _IS_A_WORD[folded[start + 1]]:
            terms[folded[start : start + 2]] = None
        elif start < last - 1:
            terms[folded[start : start + 3]] = None
    return terms


_WORDS = (
    (0x1100, 0x11FF),  # Hangul letters
    (0x2190, 0x2BFF),  # arrows, shapes, symbols
    (0x2E80, 0x303E),  # radicals, CJK punctuation
    (0x3041, 0xD7FF),  # kana, ideographs, Yi, Hangul
    (0xF900, 0xFAFF),  # ideographs
    (0xFE30, 0xFE4F),  # CJK punctuation
    (0xFF00, 0xFFEF),  # full width
    (0x1B000, 0x3FFFF),  # old kana, emoji, ideographs
)
"""Code points of the characters that are looked up alone and in pairs."""


class _Answers(dict[str, bool]):
    """Remembers of each character whether it says enough to be looked up alone."""

    def __missing__(self, character: str) -> bool:
        code = ord(character)
        self[character] = answer = any(first <= code <= last for first, last in _WORDS)
        return answer


_IS_A_WORD = _Answers()
