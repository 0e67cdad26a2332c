"""Building: a segment of rows that are in none."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class Draft:
    """A segment, ready to be stored."""

    outline: Outline
    keys: Keys
    blocks: list[Block]


def build(texts: Sequence[Text]) -> Draft:
    """The segment of these rows, of which there is at least one and none twice."""
    ordered = sorted(texts, key=lambda each: each.key)
    keys = Keys.of([each.key for each in ordered])
    found = _rows_of_terms(ordered)
    terms = sorted(found)
    counts = np.array([len(found[term]) for term in terms], np.int64)
    rows = np.frombuffer(b"".join(found[term] for term in terms), np.uint32)
    writer = BlockWriter(len(texts))
    blocks = list(writer.write(terms, Lists(counts, rows)))
    return Draft(Outline.of(ObjectId(), keys, writer.directory), keys, blocks)


def _rows_of_terms(texts: Sequence[Text]) -> "Mapping[bytes, array[int]]":
    """In which of the texts each term is."""
    # Arrays, because the collector of garbage would go through every number of a list, again and again.
    parts: defaultdict[str, array[int]] = defaultdict(partial(array, _NUMBERS))
    found: defaultdict[bytes, array[int]] = defaultdict(partial(array, _NUMBERS))
    for number, each in enumerate(texts):
        for part in terms_of_text(each.text):
            parts[part].append(number)
        for term in _terms_of_row(each):
            found[term].append(number)
    found.update((part.encode(), numbers) for part, numbers in parts.items())
    return found


def _terms_of_row(each: Text) -> Iterable[bytes]:
    yield owner_term(each.owner)
    yield group_term(each.group)
    if len(each.text) > LONGEST_TEXT:
        yield LONG
