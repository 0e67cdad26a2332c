"""Normal forms: what Unicode holds for compatible is found by one another, full width by half width, `ﬁ` by `fi`.

A text's normal form is its NFKC, but that spaces, punctuation and symbols of one character stay as they are: nearly
every Chinese text has a full-width comma, hardly any a full-width letter. So a form is stored beside the few texts that
differ from theirs, and what stays is a class in the pattern of a literal: `[,，﹐︐]`.

A literal is found in a text that has it as it is, or whose normal form has the literal's. Other patterns are asked of
both, the text and its form, as they are.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

_BLOCKS = (
    (0x00A0, 0x00FF),
    (0x0370, 0x03FF),
    (0x1FE0, 0x214F),
    (0x2320, 0x232F),
    (0x3000, 0x303F),
    (0xFB20, 0xFB2F),
    (0xFE10, 0xFE6F),
    (0xFF00, 0xFFEF),
)
"""Code points of the spaces, punctuation and symbols that have a compatible character: the table must not grow with
Python's Unicode, since the index holds what was folded by an older one."""


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "ZPS"


def _plain_characters() -> dict[str, str]:
    codes = (code for first, last in _BLOCKS for code in range(first, last + 1))
    found = ((chr(code), unicodedata.normalize("NFKC", chr(code))) for code in codes)
    return {sign: plain for sign, plain in found if len(plain) == 1 and sign != plain and _is_sign(sign)}


PLAIN: Mapping[str, str] = _plain_characters()
"""The signs that stay as they are in normal forms, each with the character that it is compatible with."""


def _classes() -> dict[str, str]:
    """Of each character that is compatible with others the class of them all, as a pattern."""
    alike: dict[str, list[str]] = {plain: [plain] for plain in PLAIN.values()}
    for sign, plain in PLAIN.items():
        alike[plain].append(sign)
    classes = {plain: f"[{''.join(map(re.escape, members))}]" for plain, members in alike.items()}
    return classes | {sign: classes[plain] for sign, plain in PLAIN.items()}


_CLASSES = _classes()
_NFKC = partial(unicodedata.normalize, "NFKC")
_SIGNS = re.compile(f"([{''.join(map(re.escape, PLAIN))}]+)")


def normal_form(text: str) -> str:
    """The text in its normal form."""
    if text.isascii():
        return text
    pieces = _SIGNS.split(text)
    pieces[::2] = map(_NFKC, pieces[::2])
    return "".join(pieces)


def literal_pattern(literal: str) -> str:
    """The regular expression of the literal's normal form."""
    return "".join(_CLASSES.get(each) or re.escape(each) for each in normal_form(literal))


def form_path(path: str) -> str:
    """Where the form of the text at a path is stored, if it differs from the text."""
    return f"{path}_nfkc"


def stored_forms(paths: Iterable[str], values: Mapping[str, Any]) -> dict[str, str | None]:
    """What is stored beside the texts at those of the paths that are among the values; None where that is nothing."""
    texts = {path: values[path] for path in paths if path in values}
    return {form_path(path): None if text is None else form_to_store(text) for path, text in texts.items()}


def form_to_store(text: str) -> str | None:
    """The text's normal form, unless that is the text."""
    form = normal_form(text)
    return None if form == text else form


class Origins:
    """Where in a text the parts of its normal form come from."""

    def __init__(self, text: str) -> None:
        """Takes about a microsecond for each character that is not as in the form; may run in a thread."""
        self._starts: list[int] = []
        self._parts: list[tuple[int, int, bool]] = []
        place = place_in_form = 0
        for part, form in _parts_of(text):
            self._starts.append(place_in_form)
            self._parts.append((place, len(part), part == form))
            place, place_in_form = place + len(part), place_in_form + len(form)

    def range_of(self, start: int, end: int) -> tuple[int, int]:
        """The characters that the form's from `start` to before `end`, at least one, come from."""
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, place_in_form: int) -> tuple[int, int]:
        part = bisect_right(self._starts, place_in_form) - 1
        place, length, is_same = self._parts[part]
        if is_same:
            place, length = place + place_in_form - self._starts[part], 1
        return place, place + length


def _parts_of(text: str) -> Iterator[tuple[str, str]]:
    """The text's parts, each with its normal form, together that of the text."""
    for number, piece in enumerate(_SIGNS.split(text)):
        form = piece if number % 2 else _NFKC(piece)
        parts = [piece] if form == piece else list(_clusters(piece))
        forms = [form] if len(parts) == 1 else list(map(_NFKC, parts))
        if "".join(forms) == form:
            yield from ((part, own) for part, own in zip(parts, forms, strict=True) if own)
        else:
            yield piece, form


def _clusters(text: str) -> Iterator[str]:
    """The text in parts between which nothing is joined by NFKC."""
    start = 0
    for place in range(1, len(text)):
        if unicodedata.combining(text[place]):
            continue
        before, behind = text[start:place], text[place]
        if _NFKC(before + behind) == _NFKC(before) + _NFKC(behind):
            yield before
            start = place
    yield text[start:]
