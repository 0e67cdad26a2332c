"""Clients' regular expressions in forms of which no text can take the server long.

The server asks for the time only between two rows, and PCRE counts its steps (200,000 in MongoDB's) anew for each place
where a match may begin: `a.*b` took 12 s for one row of 30,000 characters (measured). So the text's length decides in
which form a pattern is asked for, to find a text and to mark it alike; each ends after some ten million steps in all,
about a third of a second, most much sooner. What would need more is an error (51156) and not "no match".
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

Expression = dict[str, Any]

_WHOLE_RECURSION = re.compile(r"\(\?[R0]|\\g[<{'][+-]?0")
_COMMENTS = re.compile(r"\(\?[a-zA-Z^-]*x")


def bounded(pattern: str, length: Expression, ask: Callable[[str], Expression]) -> Expression:
    """What `ask` makes of the pattern, in the form for a text of so many bytes: a match, or the first place of one."""
    branches = [{"case": {"$lte": [length, most]}, "then": ask(form(pattern))} for most, form in _FORMS]
    return {"$switch": {"branches": branches, "default": ask(_stepping(50)(pattern))}}


def at_each_place(pattern: str, length: int) -> str:
    """The form for all matches in a text of so many characters: the longer it is, the fewer steps a place may take."""
    return _stepping(_STEPS // length)(pattern)


def in_one_go(pattern: str) -> str:
    """The same pattern with the search for its beginning inside it, so that all steps are counted together; `\\K`
    leaves that out of what is matched.

    It has to be a valid one: a parenthesis too many would end the group.
    """
    return rf"\A(?s:.*?)\K(?:{pattern})"


_STEPS = 10_000_000
"""In all of a text: about a third of a second."""


def _stepping(most: int) -> Callable[[str], str]:
    """The form that may take so many steps from each place."""
    return lambda pattern: f"(*LIMIT_MATCH={most}){pattern}"


def _together(pattern: str) -> str:
    return in_one_go(pattern) if _may_be_wrapped(pattern) else _stepping(500)(pattern)


def _may_be_wrapped(pattern: str) -> bool:
    """Not where the pattern names itself as a whole, or where a quotation or comment could reach beyond its end."""
    if _WHOLE_RECURSION.search(pattern) or "\\Q" in pattern:
        return False
    return not ("#" in pattern and _COMMENTS.search(pattern))


_FORMS: Sequence[tuple[int, Callable[[str], str]]] = (
    (512, _stepping(20_000)),  # first the pattern as it is: the server refuses an invalid one
    (20_000, _together),
    (100_000, _stepping(200)),
)
"""Bytes of text up to which a form is used. Longer ones have more places than steps to count together."""
