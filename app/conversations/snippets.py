"""Where a message matches, and the words around the first place.

The database looks for the places, so that the expression that found a message marks it too; texts of a mebibyte stay
there. All places are in code points of the whole content.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.conversations.search_query import Marking
from app.kit.normal_form import Origins, form_path
from app.kit.patterns import Expression, at_each_place, bounded

SNIPPET = 200
"""Characters of a snippet, at most."""
LEAD = 60
"""Characters of it before the first match."""
SLACK = 30
"""Characters that a snippet gives up to begin and end between words."""
REACH = 4000
"""A longer content is searched for further matches in so many characters from the first one on: the database takes
quadratic time in their number (measured: `.` in 10,000 characters takes 60 ms, in 4,000 10 ms)."""
MAX_RANGES = 20

FORM = form_path("content")

Range = tuple[int, int]
Row = dict[str, Any]


@dataclass(frozen=True)
class Snippet:
    """A part of a content that begins at `start`; `ranges` are the matches, `length` is the whole content's."""

    text: str
    start: int
    ranges: Sequence[Range]
    length: int


def stages(
    marking: Marking, *, first_only: bool = False, with_text: bool = True, path: str = "content"
) -> list[Expression]:
    """Stages that turn messages into what `ranges_of` and `snippet_of` read, with `has_form`: whether the normal form
    of the content is stored.

    `first_only` looks no further than the first match, which cost no more than finding the message did. `path`: of the
    text that is marked.
    """
    first = {
        "$let": {
            "vars": {"found": _first(marking)},
            "in": {"from": "$$found.idx", "size": {"$strLenCP": {"$ifNull": ["$$found.match", ""]}}},
        }
    }
    window = {
        "$cond": [
            {"$lte": ["$length", REACH]},
            "$content",  # all of it, where '^' and lookbehinds see what is before them
            {"$substrCP": ["$content", {"$ifNull": ["$first.from", 0]}, REACH]},
        ]
    }
    places = {
        "$map": {
            "input": {
                "$filter": {
                    "input": _regex("$regexFindAll", window, marking, _all_of(marking)),
                    "as": "found",
                    "cond": {"$ne": ["$$found.match", ""]},
                }
            },
            "as": "found",
            "in": ["$$found.idx", {"$strLenCP": "$$found.match"}],
        }
    }
    wanted = {"$max": [0, {"$min": [_behind("$first.from", LEAD), {"$subtract": ["$length", SNIPPET]}]}]}
    shown: Expression = {"length": 1, "first": 1, "has_form": 1}
    if not first_only:
        shown["places"] = {"$slice": [places, MAX_RANGES + 1]}
    if with_text:
        shown["wanted"] = wanted
        shown["piece"] = {"$substrCP": ["$content", {"$max": [0, _behind(wanted, 1)]}, SNIPPET + 2]}
    return [
        {"$project": {"content": f"${path}", "has_form": {"$gt": [f"${FORM}", None]}}},
        {"$set": {"length": {"$strLenCP": "$content"}}},
        {"$set": {"first": first}},
        {"$project": shown},
    ]


def of_content(mark: Mapping[str, Any], content: str) -> Row:
    """What was marked in a content's normal form, as a mark of the content itself; may run in a thread."""
    origins = Origins(content)
    ranges: list[Range] = []
    for start, end in (origins.range_of(*each) for each in ranges_of(mark)):
        if not ranges or start >= ranges[-1][1]:  # two places of a form may come from one character
            ranges.append((start, end))
    beginning, end = ranges[0]
    length = len(content)
    offset = 0 if length <= REACH else beginning
    wanted = max(0, min(beginning - LEAD, length - SNIPPET))
    origin = max(0, wanted - 1)
    return {
        "length": length,
        "first": {"from": beginning, "size": end - beginning},
        "places": [(start - offset, end - start) for start, end in ranges],
        "wanted": wanted,
        "piece": content[origin : origin + SNIPPET + 2],
    }


UNMARKED = Marking("(?!)", "")
"""Matches nothing at all."""


def _first(marking: Marking) -> Expression:
    def place(pattern: str) -> Expression:
        return _regex("$regexFind", "$content", marking, pattern)

    if marking.is_trusted:
        return place(marking.pattern)
    return bounded(marking.pattern, {"$strLenBytes": "$content"}, place)


def _all_of(marking: Marking) -> str:
    return marking.pattern if marking.is_trusted else at_each_place(marking.pattern, REACH)


def _regex(operator: str, text: Any, marking: Marking, pattern: str) -> Expression:
    return {operator: {"input": text, "regex": {"$literal": pattern}, "options": marking.options}}


def _behind(place: Any, distance: int) -> Expression:
    return {"$subtract": [{"$ifNull": [place, 0]}, distance]}


def ranges_of(row: Mapping[str, Any]) -> list[Range]:
    """The matches, but for empty ones."""
    beginning: int | None = row["first"].get("from")
    if beginning is None:
        return []
    end = beginning + row["first"]["size"]
    offset = 0 if row["length"] <= REACH else beginning
    others = [(offset + place, offset + place + size) for place, size in row.get("places", ())]
    first = [(beginning, end)] if end > beginning else []
    # The cut may let other things match at the first place than did there.
    return [*first, *(each for each in others if each[0] >= end)][:MAX_RANGES]


def snippet_of(row: Mapping[str, Any]) -> Snippet:
    """The snippet, cut between words, or at least between characters as a reader sees them."""
    piece: str = row["piece"]
    wanted: int = row["wanted"]
    origin = max(0, wanted - 1)
    start = 0 if wanted == 0 else _beginning(piece, wanted - origin, wanted - origin + SLACK)
    high = wanted - origin + SNIPPET
    end = _end(piece, high - SLACK, high) if high < len(piece) else len(piece)
    return Snippet(piece[start:end], origin + start, ranges_of(row), row["length"])


def _beginning(text: str, low: int, high: int) -> int:
    places = range(low, min(high, len(text) - 1) + 1)
    between_words = (place for place in places if text[place - 1].isspace() and not text[place].isspace())
    return next(between_words, next((place for place in places if _is_border(text, place)), low))


def _end(text: str, low: int, high: int) -> int:
    places = range(high, low - 1, -1)
    between_words = (place for place in places if text[place].isspace() and not text[place - 1].isspace())
    return next(between_words, next((place for place in places if _is_border(text, place)), high))


def _is_border(text: str, place: int) -> bool:
    """Whether no character, as a reader sees it, reaches over the place."""
    before, behind = text[place - 1], text[place]
    if before == _JOINER or _MODIFIERS[0] <= behind <= _MODIFIERS[1] or unicodedata.category(behind) in _ATTACHED:
        return False
    return not (_FLAGS[0] <= before <= _FLAGS[1] and _FLAGS[0] <= behind <= _FLAGS[1])


_JOINER = "\u200d"
_ATTACHED = frozenset({"Mn", "Mc", "Me", "Cf"})
_MODIFIERS = ("\U0001f3fb", "\U0001f3ff")
_FLAGS = ("\U0001f1e6", "\U0001f1ff")
