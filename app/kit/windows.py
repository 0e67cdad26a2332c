"""Windows: what an index of short texts holds, so that any part of them is found without reading the others.

A row's windows are the suffixes of its folded texts and of their normal forms, cut to 8 characters. Whatever a text
contains begins one of them, so "contains" is a range of an index over them. A window only says that a row may match:
the search itself is asked of every row that is found this way, and what it means is decided there.

Folding takes one character for one and never depends on its neighbours, or a part of a text would fold to something
that is no part of the folded text. It may hold characters for equal that the search tells apart, never the reverse.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from bson import Regex
from pymongo import ASCENDING, IndexModel

from app.kit.normal_form import PLAIN, form_to_store

FIELD = "windows_v2"
"""The stored field. Its number counts what the windows are made of: rows of an older kind are rows without windows."""
WIDTH = 8
PLACES = 4
"""So many conditions at most (whole titles of 42 characters: median 92 ms with 1, 38 with 3, 21 with 4)."""
_EMPTY = [""]
"""The windows of a row without texts: an empty array would be indexed as if there were none."""

_FOLDED_BY_LATER_UNICODE = {0x1FD3: "\u0390", 0x1FE3: "\u03b0", 0xFB05: "\ufb06"}
"""Letters of equal meaning that databases hold for equal since Unicode 15.1, and Python's `lower` does not."""


class _Folds(dict[int, str]):
    """A table for `str.translate`, which learns what it is asked for."""

    def __missing__(self, code: int) -> str:
        character = PLAIN.get(chr(code), chr(code))
        capital = character.upper()
        folded = (capital if len(capital) == 1 else character).lower()[0]
        self[code] = folded = _FOLDED_BY_LATER_UNICODE.get(code, folded)
        return folded


_FOLDS = _Folds()


def fold(text: str) -> str:
    """The text with one character for each, equal for all that differ only in case, or in the width of their signs."""
    return text.translate(_FOLDS)


def is_foldable(character: str) -> bool:
    """Whether no database can hold the character for equal to one that is folded differently.

    A later Unicode may assign it, or give a small letter that has no capital one: such a database, or one that holds
    texts written by a later Python, knows more than `fold`. A NUL has no place in the database's patterns.
    """
    if character == "\0":
        return False
    category = unicodedata.category(character)
    return category not in {"Cn", "Cs"} and (category != "Ll" or character.upper() != character)


def windows_of(texts: Iterable[str]) -> list[str]:
    """The windows of a row with these texts, each once."""
    found: dict[str, None] = {}
    for folded in map(fold, with_forms(texts)):
        found.update(dict.fromkeys(folded[start : start + WIDTH] for start in range(len(folded))))
    return list(found) or _EMPTY


def with_forms(texts: Iterable[str]) -> Iterable[str]:
    """The texts, each with its normal form if that is another."""
    for text in texts:
        yield text
        if (form := form_to_store(text)) is not None:
            yield form


def with_windows(paths: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values, and the row's windows when the texts at `paths` are among them.

    Raises ValueError when only some of these are, because the windows are those of all.
    """
    named = [path for path in paths if path in values]
    if not named:
        return dict(values)
    if len(named) < len(paths):
        raise ValueError(f"{', '.join(paths)} share their windows and have to be written together")
    return {**values, FIELD: windows_of(values[path] for path in paths)}


def window_indexes(owner_path: str | None = None) -> list[IndexModel]:
    """The index for those who see everything, and the one for the rows of an owner."""
    indexes = [IndexModel([(FIELD, ASCENDING)], name=FIELD)]
    if owner_path is not None:
        indexes.append(IndexModel([(owner_path, ASCENDING), (FIELD, ASCENDING)], name=f"owner_{FIELD}"))
    return indexes


def may_contain(needs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The condition of the rows that may contain one of the folded literals of each need.

    Rows without windows are among them: what an older server wrote is found, only not as fast, until it is reindexed.
    Each need is a condition, a long literal one at several of its places. The database reads the index for one of them
    and finds out by trial for which that is the least.
    """
    groups = [_spread(need[0]) if len(need) == 1 else [need] for need in needs]
    mixed = [literals for each in zip_longest(*groups) for literals in each if literals]
    conditions = [
        {FIELD: {"$in": [*map(_beginning, dict.fromkeys(each[:WIDTH] for each in literals)), None]}}
        for literals in mixed[:PLACES]
    ]
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _spread(literal: str) -> list[Sequence[str]]:
    """What the literal holds from its first place to its last, a window or more apart."""
    last = max(0, len(literal) - WIDTH)
    gaps = max(1, min(PLACES - 1, -(-last // WIDTH)))
    return [(literal[start:],) for start in sorted({round(last * index / gaps) for index in range(gaps + 1)})]


def _beginning(literal: str) -> str | Regex[str]:
    """What the windows that begin with the literal are equal to, or match. Python's own pattern objects will not do:
    the driver marks them as Unicode, for which the database does not use its index."""
    return literal if len(literal) == WIDTH else Regex(f"^{re.escape(literal)}")
