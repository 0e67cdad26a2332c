"""Search conditions: what a client asks for in `q=`, `match=` and `field__has=`, as Mongo conditions.

Literals are escaped by us. A client's regular expression is compiled by the database only, inside `$regexMatch`:
there a pattern that exhausts PCRE's match limit is an error (51156), whereas in `find` it silently matches nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from app.kit.errors import InvalidPattern
from app.kit.literals import Need, literals_of_pattern, literals_of_text
from app.kit.patterns import Expression, bounded
from app.kit.windows import may_contain

Match = Literal["literal", "prefix", "regex"]
MATCHES: tuple[Match, ...] = get_args(Match)
MAX_QUERY_CHARACTERS = 200

FORBIDDEN = "holds a verb of PCRE, '(*...)', or '\\C', which are not allowed"

Condition = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """What is looked for in the texts of a list's rows: one of `paths` has to match `query`.

    Raises ValueError with a sentence, or InvalidPattern. `has_windows`: the rows have windows of all the paths, which
    spare reading the rows that cannot match.
    """

    paths: tuple[str, ...]
    query: str
    match: Match = "literal"
    case_sensitive: bool = False
    has_windows: bool = False

    def __post_init__(self) -> None:
        _check(self.query)
        if self.match == "regex" and ("(*" in self.query or "\\C" in self.query):
            raise InvalidPattern(FORBIDDEN)

    @cached_property
    def condition(self) -> Condition:
        """The condition that decides."""
        return _CONDITIONS[self.match](self.paths, self.pattern, self.options)

    @cached_property
    def indexed_condition(self) -> Condition:
        """The same, with what the index of the windows answers before the rows are asked."""
        return {**_within_reach(self.needs), **self.condition} if self.has_windows else self.condition

    @cached_property
    def needs(self) -> Sequence[Need]:
        """Folded literals without which a text cannot match; empty when that cannot be told."""
        return _LITERALS[self.match](self.query)

    @property
    def is_narrowed(self) -> bool:
        """Whether an index tells which rows cannot match."""
        return self.has_windows and bool(self.needs)

    @property
    def pattern(self) -> str:
        """The regular expression that the database compiles, with `options`."""
        return _PATTERNS[self.match](self.query)

    @property
    def options(self) -> str:
        return "" if self.case_sensitive else "i"


def _within_reach(needs: Sequence[Need]) -> Condition:
    """The condition that the index answers before the rows are asked."""
    return may_contain(needs) if needs else {}


def _check(query: str) -> None:
    if not query:
        raise ValueError("is empty")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValueError(f"has {len(query)} characters, {MAX_QUERY_CHARACTERS} is the most")
    if "\0" in query:
        raise ValueError("holds a NUL character, which cannot be searched for")


def _found(paths: Sequence[str], pattern: str, options: str) -> Condition:
    return _any_of([{path: {"$regex": pattern, "$options": options}} for path in paths])


def _found_or_fails(paths: Sequence[str], pattern: str, options: str) -> Condition:
    """One `$expr` for all paths: the database asks it last, of rows that meet all other conditions."""
    texts = [{"$ifNull": [f"${path}", ""]} for path in paths]
    return {"$expr": _any_of([_matches(text, pattern, options) for text in texts])}


def _matches(text: Expression, pattern: str, options: str) -> Expression:
    def is_found(form: str) -> Expression:
        regex = {"$literal": form}  # never a field path, even when it begins with '$'
        return {"$regexMatch": {"input": text, "regex": regex, "options": options}}

    return bounded(pattern, {"$strLenBytes": text}, is_found)


def _any_of(alternatives: list[Condition]) -> Condition:
    return alternatives[0] if len(alternatives) == 1 else {"$or": alternatives}


_PATTERNS: Mapping[Match, Callable[[str], str]] = {
    "literal": re.escape,
    "prefix": lambda query: f"^{re.escape(query)}",
    "regex": lambda query: query,
}
_CONDITIONS: Mapping[Match, Callable[[Sequence[str], str, str], Condition]] = {
    "literal": _found,
    "prefix": _found,
    "regex": _found_or_fails,
}
_LITERALS: Mapping[Match, Callable[[str], Sequence[Need]]] = {
    "literal": literals_of_text,
    "prefix": literals_of_text,
    "regex": literals_of_pattern,
}
