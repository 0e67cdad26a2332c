"""Literals: what a text has to contain, or it cannot match a pattern.

Read from the part of PCRE's syntax that is understood here; one construct beyond it, and nothing is claimed at all.
Python's own parser reads `\\v`, `[[:alpha:]]`, `a{,3}` and `\\N` differently from the database and cannot stand in.
All texts are folded, so whether a part of a pattern tells capitals from small letters makes no difference.

A literal may begin with `START` or end with `END`: then a text has to begin or end with it, or the end of a line be all
that comes behind it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import takewhile

from app.kit.windows import fold, is_foldable

MAX_DEPTH = 20
MAX_ALTERNATIVES = 20
_LONGEST = 200

START, END = "\x02", "\x03"
"""Stand in literals for the edges of a text. A text may have these characters too: then it only seems to have edges."""

Need = tuple[str, ...]
"""Alternatives, of which a matching text contains at least one."""


def literals_of_texts(texts: Sequence[str], *, at_start: bool = False) -> Sequence[Need]:
    """What contains one of the texts, or begins with it, meets each of these; nothing when that cannot be told. The
    most telling one is first."""
    edge = _AT_START if at_start else _NOTHING
    return _ordered(_one_of([reduce(_then, map(_character, text), edge) for text in texts]))


def without_edges(needs: Sequence[Need]) -> Sequence[Need]:
    """The needs without what they say of where a text begins and ends."""
    stripped = (tuple(literal.strip(START + END) for literal in need) for need in needs)
    return list(dict.fromkeys(need for need in stripped if all(need)))


def literals_of_pattern(pattern: str) -> Sequence[Need]:
    """What matches the pattern meets each of these; nothing when that cannot be told. The most telling one is first."""
    try:
        return _ordered(_Parser(pattern).read())
    except _NotUnderstood:
        return ()


@dataclass(frozen=True)
class _Part:
    """What is known of the texts that a part of a pattern matches: how they begin and end, and what else they contain.

    `is_exact`: it matches this one text, which is both beginning and end.
    """

    beginning: str = ""
    end: str = ""
    is_exact: bool = False
    needs: tuple[Need, ...] = ()

    def all_needs(self) -> tuple[Need, ...]:
        return tuple(need for need in (*self.needs, (self.beginning,), (self.end,)) if all(need))


_NOTHING = _Part(is_exact=True)
"""Matches between two characters."""
_ANYTHING = _Part()
_AT_START = _Part(end=START)
_AT_END = _Part(beginning=END)
"""Nothing is claimed of what a pattern has beyond these: the end of a line may come behind the one."""


def _exact(text: str) -> _Part:
    return _Part(text, text, is_exact=True)


def _character(character: str) -> _Part:
    return _exact(fold(character)) if is_foldable(character) else _ANYTHING


def _one_character_of(characters: Iterable[str]) -> _Part:
    """Any one of these, in a pattern that may take capitals for small letters."""
    return _one_of([_character(each) for each in characters] or [_ANYTHING])


def _range(first: str, last: str) -> str:
    """The characters from one to another; none when they are many, or it is not two that stand there."""
    if len(first) != 1 or len(last) != 1 or ord(last) - ord(first) >= MAX_ALTERNATIVES:
        return ""
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


def _then(first: _Part, second: _Part) -> _Part:
    """One behind the other."""
    if first.is_exact and second.is_exact:
        return _exact(first.end + second.beginning)
    if first.is_exact:
        return _Part(first.end + second.beginning, second.end, needs=second.needs)
    if second.is_exact:
        return _Part(first.beginning, first.end + second.beginning, needs=first.needs)
    between = first.end + second.beginning
    return _Part(first.beginning, second.end, needs=(*first.needs, *([(between,)] if between else []), *second.needs))


def _one_of(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1 or (parts[0].is_exact and all(part == parts[0] for part in parts)):
        return parts[0]
    needs = [next(iter(_ordered(part)), ()) for part in parts]
    merged = tuple(dict.fromkeys(literal for need in needs for literal in need))
    has_need = all(needs) and len(merged) <= MAX_ALTERNATIVES
    return _Part(
        _shared([part.beginning for part in parts]),
        _shared([part.end[::-1] for part in parts])[::-1],
        needs=(merged,) if has_need else (),
    )


def _shared(texts: Sequence[str]) -> str:
    """How all of the texts begin."""
    return "".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def _repeated(part: _Part, least: int, most: int | None) -> _Part:
    if least == 0:
        return _NOTHING if most == 0 else _ANYTHING
    if least == most == 1:
        return part
    if part.is_exact:
        text = part.end * min(least, max(1, _LONGEST // max(1, len(part.end))))
        return _Part(text, text, is_exact=least == most and len(text) == len(part.end) * least)
    return _Part(part.beginning, part.end, needs=part.needs)


def _ordered(part: _Part) -> Sequence[Need]:
    """The part's needs, first those that fewest texts can be thought to meet: a Chinese character says more than a
    letter."""
    distinct = dict.fromkeys(part.all_needs())
    return sorted(distinct, key=lambda need: (-min(len(text.encode()) for text in need), len(need)))


class _NotUnderstood(Exception):
    """There is something in the pattern that this module does not know."""


_QUANTIFIER = re.compile(r"(?:([*+?])|\{([0-9]{1,5})(,?)([0-9]{0,5})\})[?+]?")
_SYMBOLS: Mapping[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_LOOKAROUND = re.compile(r"\?<?[=!]")
_SETTING = re.compile(r"\?[ims]*(?:-[ims]+)?\)")
_GROUP = re.compile(r"\?(?:[ims]*(?:-[ims]+)?:|>|P?<[A-Za-z_][A-Za-z_0-9]{0,30}>)")
_HEXADECIMAL = re.compile(r"([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\}")
_BACK_REFERENCE = re.compile(r"[1-9](?![0-9])")
_BETWEEN_CHARACTERS = re.compile("[bBAzZ]")
_MULTILINE = re.compile(r"\(\?[ims]*m")
_UP_TO = re.compile(r"-(?!\])")
_ESCAPED: Mapping[str, str] = {
    "t": "\t",
    "n": "\n",
    "r": "\r",
    "f": "\f",
    "a": "\a",
    "e": "\x1b",
    "d": "0123456789",
    **dict.fromkeys("DwWsShHvV", ""),
}


class _Parser:
    """Reads a pattern from left to right, once."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        knows_edges = _MULTILINE.search(pattern) is None  # else `^` and `$` are at every line's
        self._edges = {"A": _AT_START, "Z": _AT_END, "z": _AT_END} if knows_edges else {}
        self._readers: Mapping[str, Callable[[], _Part]] = {
            "(": self._group,
            "[": self._class,
            "\\": self._escape,
            ".": lambda: _ANYTHING,
            "^": lambda: self._edges.get("A", _NOTHING),
            "$": lambda: self._edges.get("Z", _NOTHING),
            **dict.fromkeys("*+?{", self._fail),
        }

    def read(self) -> _Part:
        part = self._alternatives()
        if self._at < len(self._pattern):
            raise _NotUnderstood
        return part

    def _alternatives(self) -> _Part:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return _one_of(branches)

    def _sequence(self) -> _Part:
        sequence = _NOTHING
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            character = self._next()
            reader = self._readers.get(character)
            part = reader() if reader else _character(character)
            sequence = _then(sequence, self._with_quantifier(part))
        return sequence

    def _with_quantifier(self, part: _Part) -> _Part:
        found = self._match(_QUANTIFIER)
        if found is None:
            return part  # a brace that counts nothing fails as the next character
        if self._pattern[self._at : self._at + 1] in tuple("*+?{"):
            raise _NotUnderstood
        symbol, least, comma, most = found.groups()
        if symbol:
            return _repeated(part, *_SYMBOLS[symbol])
        return _repeated(part, int(least), int(most) if most else None if comma else int(least))

    def _group(self) -> _Part:
        if self._match(_SETTING):
            return _NOTHING
        is_lookaround = self._match(_LOOKAROUND)
        if not is_lookaround and not self._match(_GROUP) and self._pattern[self._at : self._at + 1] in ("?", "*"):
            raise _NotUnderstood
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _NotUnderstood
        part = self._alternatives()
        self._depth -= 1
        if not self._take(")"):
            raise _NotUnderstood
        return _NOTHING if is_lookaround else part

    def _class(self) -> _Part:
        """One of its characters, if they are few."""
        is_negated = self._take("^")
        members = [self._members()]
        while not self._take("]"):
            members.append(self._members())
        return _ANYTHING if is_negated or not all(members) else _one_character_of("".join(members))

    def _members(self) -> str:
        """A character of a class, or those of a range or a kind; none when they are many."""
        first = self._member()
        return _range(first, self._member()) if self._match(_UP_TO) else first

    def _member(self) -> str:
        character = self._next()
        if character == "\\":
            return self._escaped()
        if character == "[" and self._pattern[self._at : self._at + 1] in (":", ".", "="):
            raise _NotUnderstood
        return character

    def _escape(self) -> _Part:
        if self._match(_BACK_REFERENCE):
            return _ANYTHING
        if between := self._match(_BETWEEN_CHARACTERS):
            return self._edges.get(between[0], _NOTHING)
        return _one_character_of(self._escaped())

    def _escaped(self) -> str:
        """The character that is meant behind a backslash, or those of a kind; none when they are many."""
        letter = self._next()
        if not (letter.isascii() and letter.isalnum()):
            return letter
        if letter == "x":
            return self._hexadecimal()
        if letter not in _ESCAPED:
            raise _NotUnderstood
        return _ESCAPED[letter]

    def _hexadecimal(self) -> str:
        found = self._match(_HEXADECIMAL)
        code = int(found[1] or found[2], 16) if found else -1
        if not 0 <= code < 0x110000:
            raise _NotUnderstood
        return chr(code)

    def _next(self) -> str:
        if self._at == len(self._pattern):
            raise _NotUnderstood
        self._at += 1
        return self._pattern[self._at - 1]

    def _take(self, character: str) -> bool:
        is_next = self._pattern.startswith(character, self._at)
        self._at += is_next
        return is_next

    def _match(self, expected: re.Pattern[str]) -> re.Match[str] | None:
        found = expected.match(self._pattern, self._at)
        if found:
            self._at = found.end()
        return found

    def _fail(self) -> _Part:
        raise _NotUnderstood
