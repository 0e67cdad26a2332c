"""Building: a segment of rows that are in none."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from bson import ObjectId

from app.search.blocks import Block, BlockWriter, Entry
from app.search.keys import Key, Keys
from app.search.postings import encode
from app.search.segments import Outline
from app.search.terms import LONG, LONGEST_TEXT, group_term, owner_term, terms_of_text


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
    writer = BlockWriter()
    blocks = [*writer.write(_entries(ordered)), *writer.end()]
    return Draft(Outline.of(ObjectId(), keys, writer.directory), keys, blocks)


def _entries(texts: Sequence[Text]) -> Iterator[Entry]:
    lists: defaultdict[str, list[int]] = defaultdict(list)
    others: defaultdict[bytes, list[int]] = defaultdict(list)
    for ordinal, each in enumerate(texts):
        for term in terms_of_text(each.text):
            lists[term].append(ordinal)
        for other in _terms_of_row(each):
            others[other].append(ordinal)
    others.update((term.encode(), ordinals) for term, ordinals in lists.items())
    for term in sorted(others):
        yield term, encode(np.array(others[term], np.uint32), len(texts))


def _terms_of_row(each: Text) -> Iterable[bytes]:
    yield owner_term(each.owner)
    yield group_term(each.group)
    if len(each.text) > LONGEST_TEXT:
        yield LONG
