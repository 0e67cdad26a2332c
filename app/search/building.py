"""Building: a segment of rows that are in none."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from bson import ObjectId

from app.search.blocks import Block, BlockWriter
from app.search.keys import Key, Keys
from app.search.postings import Lists
from app.search.segments import Outline
from app.search.terms import LONG, LONGEST_TEXT, group_term, owner_term, terms_of_text

_NUMBERS = "I"
"""The code of arrays of numbers of four bytes."""


@dataclass(frozen=True, slots=True)
class Text:
    """A row to be indexed."""

    key: Key
    owner: ObjectId
    group: ObjectId
    text: str
    form: str | None = None
    """The text's normal form, if it is another."""


@dataclass(frozen=True)
class Draft:
    """A segment, ready to be stored."""

    outline: Outline
    keys: Keys
    blocks: list[Block]


class Drafting:
    """A segment in the making: rows are added piece by piece, so that their texts need not be kept."""

    def __init__(self) -> None:
        # Arrays, because the collector of garbage would go through every number of a list, again and again.
        self._parts: defaultdict[str, array[int]] = defaultdict(partial(array, _NUMBERS))
        self._terms: defaultdict[bytes, array[int]] = defaultdict(partial(array, _NUMBERS))
        self._keys: list[Keys] = []
        self._count = 0
        self.characters = 0
        """Of all texts."""

    def __len__(self) -> int:
        return self._count

    def add(self, texts: Sequence[Text]) -> None:
        """More rows, in the order of their keys, all of them behind those that were added before."""
        for number, each in enumerate(texts, self._count):
            for part in terms_of_text(each.text, each.form):
                self._parts[part].append(number)
            for term in _terms_of_row(each):
                self._terms[term].append(number)
            self.characters += len(each.text)
        self._keys.append(Keys.of([each.key for each in texts]))
        self._count += len(texts)

    def finish(self) -> Draft:
        """The segment, when it has at least one row; nothing can be added any more."""
        keys = Keys.joined(self._keys)
        found: dict[bytes, array[int]] = {**self._terms, **{part.encode(): rows for part, rows in self._parts.items()}}
        self._parts.clear()
        self._terms.clear()
        terms = sorted(found)
        counts = np.array([len(found[term]) for term in terms], np.int64)
        rows = np.frombuffer(b"".join(found[term] for term in terms), np.uint32)
        writer = BlockWriter(len(keys))
        blocks = list(writer.write(terms, Lists(counts, rows)))
        return Draft(Outline.of(ObjectId(), keys, writer.directory, has_edges=True), keys, blocks)


def _terms_of_row(each: Text) -> Iterable[bytes]:
    yield owner_term(each.owner)
    yield group_term(each.group)
    if len(each.text) > LONGEST_TEXT:
        yield LONG
