"""What a client asks of the search over messages, checked and translated."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

from app.conversations.resource import MESSAGES
from app.kit.errors import FieldError
from app.kit.listing import Listing, parse_listing
from app.kit.paging import Sort
from app.kit.search import Search

SearchMatch = Literal["literal", "regex", "text"]
SEARCH_MATCHES: tuple[SearchMatch, ...] = get_args(SearchMatch)
SearchSort = Literal["-created_at", "created_at", "-relevance"]
SEARCH_SORTS: tuple[SearchSort, ...] = get_args(SearchSort)
GROUPS = ("conversation",)
MAX_RESULTS = 100

LONG_MEMBERS = frozenset({"content", "reasoning", "tool_calls"})
"""What a result leaves out of its message."""
SHOWN_MEMBERS = tuple(member for member in MESSAGES.members if member not in LONG_MEMBERS)

Condition = Mapping[str, Any]


@dataclass(frozen=True)
class Marking:
    """The regular expression of the places that are marked, which the database compiles with `options`.

    `is_trusted`: it takes no more than a few steps from each place of a text. A client's may take very many.
    `form_pattern`: the one of places in normal forms of contents, if they are looked into.
    """

    pattern: str
    options: str
    is_trusted: bool = True
    form_pattern: str | None = None

    @property
    def in_forms(self) -> "Marking | None":
        """The marking of normal forms."""
        return None if self.form_pattern is None else replace(self, pattern=self.form_pattern, form_pattern=None)


@dataclass(frozen=True)
class Words:
    """What the text index is asked: words by their stems, "phrases", -words. Raises ValueError with a sentence.

    `language`: whose stems; 'none' has none.
    """

    query: str
    language: str
    case_sensitive: bool = False

    def __post_init__(self) -> None:
        Search(("content",), self.query)  # what holds for every query: its length, and no NUL
        if not self._wanted:
            raise ValueError("holds no word to search for")

    @property
    def condition(self) -> Condition:
        return {"$text": {"$search": self.query, "$caseSensitive": self.case_sensitive}}

    @cached_property
    def marking(self) -> Marking:
        """Words that begin like those of the query and are hardly longer; only the database knows the stems."""
        kept, rest = (str, "") if self.language == "none" else (_beginning, f"[{_LETTERS}]{{0,4}}")
        words = "|".join(re.escape(kept(word)) for word in self._wanted)
        pattern = f"(?<![{_LETTERS}])(?:{words}){rest}(?![{_LETTERS}])"
        return Marking(pattern, "" if self.case_sensitive else "i")

    @cached_property
    def _wanted(self) -> Sequence[str]:
        return list(dict.fromkeys(re.findall(r"\w+", _REFUSED.sub(" ", self.query))))


_LETTERS = r"\p{L}\p{M}\p{N}_"
_REFUSED = re.compile(r'(?<!\S)-(?:"[^"]*"?|\S+)')
"""What must not be there: -word or -"a phrase"."""
_ENDING = 3


def _beginning(word: str) -> str:
    return word[: max(_ENDING, len(word) - _ENDING)]


@dataclass(frozen=True)
class Query:
    """A search over messages. `listing` holds its filters, page and, unless it is for `words`, what is looked for."""

    listing: Listing
    marking: Marking
    words: Words | None = None
    is_ranked: bool = False
    """Whether the results are ordered by a score."""
    is_grouped: bool = False
    tag: str | None = None

    @property
    def conditions(self) -> Sequence[Condition]:
        """The Mongo filter of the matches, without the scope and the tag, which messages do not have."""
        words = [] if self.words is None else [self.words.condition]
        return [*words, *self.listing.all_conditions]

    @property
    def sort(self) -> Sort:
        """The order in which matches are read."""
        return self.listing.sort if self.words is None else BY_SCORE

    @property
    def fingerprint(self) -> bytes:
        """Tells one search from another, but for the page."""
        return self.listing.fingerprint + b"ranked" * self.is_ranked


BY_SCORE = Sort("score", descending=True)


def parse_search(parameters: Iterable[tuple[str, str]], *, text_language: str | None) -> Query:
    """Read the query string; `text_language`: of the text index, None without one.

    Raises Invalid naming every parameter at fault.
    """
    pairs = list(parameters)
    values = dict(pairs)
    faults: list[FieldError] = []
    match = _choice(faults, "match", values, SEARCH_MATCHES, "literal")
    sort = _choice(faults, "sort", values, SEARCH_SORTS, "-relevance" if match == "text" else "-created_at")
    group = _choice(faults, "group", values, GROUPS, None)
    is_ranked = sort == "-relevance"
    faults += [
        FieldError(f"query.{name}", sentence)
        for name, (is_at_fault, sentence) in {
            "q": ("q" not in values, "is missing"),
            "tag": (values.get("tag") == "", "is empty"),
            "match": (match == "text" and text_language is None, _NO_TEXT_INDEX),
            "sort": (match == "text" and sort is not None and not is_ranked, "is '-relevance' with match=text"),
            "before": ("before" in values and (is_ranked or group is not None), _FORWARD_ONLY),
        }.items()
        if is_at_fault
    ]
    faults += [FieldError(f"query.{name}", "is not a parameter of a search") for name in _OF_LISTS_ONLY & values.keys()]
    words = _words(faults, values, text_language) if match == "text" else None
    beside = {"tag", "group", *_OF_LISTS_ONLY}
    if match not in ("literal", "regex"):
        beside.add("match")
    if match == "text" and text_language is not None:
        beside.add("q")
    if sort not in ("-created_at", "created_at"):
        beside.add("sort")
    listing = parse_listing(MESSAGES, pairs, max_limit=MAX_RESULTS, beside=beside, faults=faults)
    listing = replace(listing, fields=SHOWN_MEMBERS)
    marking = _marking(listing.search, words)
    return Query(listing, marking, words, is_ranked, group is not None, values.get("tag"))


_OF_LISTS_ONLY = frozenset({"fields", "count"})
_NO_TEXT_INDEX = "'text' needs the text index, which this server does not have: VERBATIM_TEXT_SEARCH=true makes it"
_FORWARD_ONLY = "cannot be used with group or sort=-relevance, whose pages go forward only: use 'after'"


def _choice(
    faults: list[FieldError], name: str, values: Mapping[str, str], choices: Sequence[str], default: str | None
) -> str | None:
    """The parameter; None where it is none of the choices, which goes to `faults`."""
    text = values.get(name, default)
    if text is None or text in choices:
        return text
    faults.append(FieldError(f"query.{name}", f"is one of {', '.join(choices)}"))
    return None


def _words(faults: list[FieldError], values: Mapping[str, str], language: str | None) -> Words | None:
    if "q" not in values or language is None:
        return None
    try:
        return Words(values["q"], language, values.get("case_sensitive") == "true")
    except ValueError as error:
        faults.append(FieldError("query.q", str(error)))
        return None


def _marking(search: Search | None, words: Words | None) -> Marking:
    if words is not None:
        return words.marking
    assert search is not None  # noqa: S101 `q` is there, and was read
    return Marking(search.pattern, search.options, search.match != "regex", search.form_pattern)
