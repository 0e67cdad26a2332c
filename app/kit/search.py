"""Search conditions: what a client asks for in `q=`, `match=` and `field__has=`, as Mongo conditions.

Literals are escaped by us. A client's regular expression is compiled by the database only, inside `$regexMatch`:
there a pattern that exhausts PCRE's match limit is an error (51156), whereas in `find` it silently matches nothing.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from app.kit.errors import InvalidPattern
from app.kit.literals import Need, literals_of_pattern, literals_of_texts, without_edges
from app.kit.normal_form import form_path, literal_pattern, normal_form
from app.kit.patterns import Expression, bounded
from app.kit.windows import may_contain

Match = Literal["literal", "prefix", "regex"]
MATCHES: tuple[Match, ...] = get_args(Match)
MAX_QUERY_CHARACTERS = 200

_PATTERN = "$expr"
"""The operator that only patterns use."""
FORBIDDEN = "holds a verb of PCRE, '(*...)', or '\\C', which are not allowed"

Condition = dict[str, Any]
Asked = tuple[str, str]
"""A path, and the pattern that its text is asked for."""


@dataclass(frozen=True)
class Search:
    """What is looked for in the texts of a list's rows: one of `paths` has to match `query`.

    Raises ValueError with a sentence, or InvalidPattern. `has_windows`: the rows have windows of all the paths, which
    spare reading the rows that cannot match. `normalized`: those of the paths whose texts' normal forms are stored.
    """

    paths: tuple[str, ...]
    query: str
    match: Match = "literal"
    case_sensitive: bool = False
    has_windows: bool = False
    normalized: Collection[str] = ()

    def __post_init__(self) -> None:
        _check(self.query)
        if self.match == "regex" and ("(*" in self.query or "\\C" in self.query):
            raise InvalidPattern(FORBIDDEN)

    @cached_property
    def condition(self) -> Condition:
        """The condition that decides."""
        asked = [(path, self.pattern) for path in self.paths]
        asked += [(form_path(path), self.form_pattern) for path in self.paths if path in self.normalized]
        return _CONDITIONS[self.match](asked, self.options)

    @cached_property
    def indexed_condition(self) -> Condition:
        """The same, with what the index of the windows answers before the rows are asked."""
        return {**may_contain(self._telling_needs), **self.condition} if self.is_narrowed else self.condition

    @cached_property
    def needs(self) -> Sequence[Need]:
        """Folded literals without which a text cannot match; empty when that cannot be told."""
        if self.match == "regex":
            return literals_of_pattern(self.query)
        return literals_of_texts(self._literals, at_start=self.match == "prefix")

    @property
    def is_narrowed(self) -> bool:
        """Whether an index tells which rows cannot match."""
        return self.has_windows and bool(self._telling_needs)

    @property
    def _telling_needs(self) -> Sequence[Need]:
        """Without those that any of several letters meets: most texts have one, and each costs a read of the index."""
        needs = without_edges(self.needs)
        return [need for need in needs if len(need) == 1 or any(len(text.encode()) > 1 for text in need)]

    @property
    def pattern(self) -> str:
        """The regular expression that texts are asked for, which the database compiles with `options`."""
        if self.match == "regex":
            return self.query
        return _alternatives(self.match, [literal_pattern(self.query), *map(re.escape, self._literals[1:])])

    @property
    def form_pattern(self) -> str:
        """The same for the stored normal forms of texts."""
        return self.query if self.match == "regex" else _alternatives(self.match, [literal_pattern(self.query)])

    @property
    def _literals(self) -> Sequence[str]:
        """The query's normal form, and the query if it is another."""
        return list(dict.fromkeys((normal_form(self.query), self.query)))

    @property
    def options(self) -> str:
        return "" if self.case_sensitive else "i"


def before_patterns(conditions: Sequence[Mapping[str, Any]]) -> Condition:
    """Those of the conditions once more that the database would ask of a row after its pattern; nothing when none is a
    pattern.

    Of a row that an index led to, MongoDB asks first what no index could answer, which a pattern is, and then what
    another index could have answered, such as whose row it is. A text that is not asked for would end the search with
    an error that names it. Twice negated, no index can answer a condition. Those of ids are left out: they may be many,
    and are answered by the index of ids.
    """
    if not any(_PATTERN in each for each in conditions):
        return {}
    later = [each for each in conditions if each and not {_PATTERN, "_id"} & each.keys()]
    return {"$nor": [{"$nor": [each]} for each in later]} if later else {}


def _check(query: str) -> None:
    if not query:
        raise ValueError("is empty")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValueError(f"has {len(query)} characters, {MAX_QUERY_CHARACTERS} is the most")
    if "\0" in query:
        raise ValueError("holds a NUL character, which cannot be searched for")


def _alternatives(match: Match, patterns: Sequence[str]) -> str:
    either = patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"
    return f"^{either}" if match == "prefix" else either


def _found(asked: Sequence[Asked], options: str) -> Condition:
    return _any_of([{path: {"$regex": pattern, "$options": options}} for path, pattern in asked])


def _found_or_fails(asked: Sequence[Asked], options: str) -> Condition:
    """One `$expr` for all paths."""
    return {_PATTERN: _any_of([_matches(f"${path}", pattern, options) for path, pattern in asked])}


def _matches(text: str, pattern: str, options: str) -> Expression:
    """An absent text does not match, whatever the pattern."""

    def is_found(form: str) -> Expression:
        regex = {"$literal": form}  # never a field path, even when it begins with '$'
        return {"$regexMatch": {"input": text, "regex": regex, "options": options}}

    return {"$and": [{"$gt": [text, None]}, bounded(pattern, {"$strLenBytes": text}, is_found)]}


def _any_of(alternatives: list[Condition]) -> Condition:
    return alternatives[0] if len(alternatives) == 1 else {"$or": alternatives}


_CONDITIONS: Mapping[Match, Callable[[Sequence[Asked], str], Condition]] = {
    "literal": _found,
    "prefix": _found,
    "regex": _found_or_fails,
}
