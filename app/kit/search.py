"""Search conditions: what a client asks for in `q=`, `match=` and `field__has=`, as Mongo conditions.

Literals are escaped by us. A client's regular expression is compiled by the database only, inside `$regexMatch`:
there a pattern that exhausts PCRE's match limit is an error (51156), whereas in `find` it silently matches nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from app.kit.errors import FieldError, InvalidPattern
from app.kit.literals import Need, literals_of_pattern, literals_of_text
from app.kit.windows import may_contain

Match = Literal["literal", "prefix", "regex"]
MATCHES: tuple[str, ...] = get_args(Match)
MAX_QUERY_CHARACTERS = 200

Condition = dict[str, Any]


def search_condition(
    paths: Sequence[str], query: str, match: str, *, case_sensitive: bool = False, is_indexed: bool = False
) -> Condition:
    """The condition that one of `paths` matches `query`; raises ValueError with a sentence, or InvalidPattern.

    `is_indexed`: the rows have windows of all the paths, which spare reading the rows that cannot match.
    """
    _check(query)
    options = "" if case_sensitive else "i"
    alternatives = [_CONDITIONS[match](path, query, options) for path in paths]
    meant = alternatives[0] if len(alternatives) == 1 else {"$or": alternatives}
    return {**_within_reach(_LITERALS[match](query)), **meant} if is_indexed else meant


def contains(path: str, text: str, *, is_indexed: bool = False) -> Condition:
    """The condition that the stored string (or one of a list) contains `text`, whatever its case."""
    _check(text)
    meant = _literal(path, text, "i")
    return {**_within_reach(literals_of_text(text)), **meant} if is_indexed else meant


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


def _literal(path: str, query: str, options: str) -> Condition:
    return {path: {"$regex": re.escape(query), "$options": options}}


def _prefix(path: str, query: str, options: str) -> Condition:
    return {path: {"$regex": f"^{re.escape(query)}", "$options": options}}


def _regex(path: str, query: str, options: str) -> Condition:
    if "(*" in query or "\\C" in query:
        raise InvalidPattern(
            "q: PCRE verbs '(*...)' and '\\C' are not allowed", fields=[FieldError("query.q", "holds '(*' or '\\C'")]
        )
    return {
        "$expr": {
            "$regexMatch": {
                "input": {"$ifNull": [f"${path}", ""]},
                "regex": {"$literal": query},  # never a field path, even when it begins with '$'
                "options": options,
            }
        }
    }


_CONDITIONS: Mapping[str, Callable[[str, str, str], Condition]] = {
    "literal": _literal,
    "prefix": _prefix,
    "regex": _regex,
}
_LITERALS: Mapping[str, Callable[[str], Sequence[Need]]] = {
    "literal": literals_of_text,
    "prefix": literals_of_text,
    "regex": literals_of_pattern,
}
