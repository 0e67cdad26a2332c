"""Plans: what to look up of what is sought, in which blocks of a segment, and which of its rows have all of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from bson import ObjectId

from app.kit.literals import Need, without_edges
from app.search.blocks import BLOCK_BITS, Block, Entry
from app.search.postings import Ordinals
from app.search.segments import Outline
from app.search.store import Place
from app.search.terms import DIGIT, LONG, group_term, is_at_edge, owner_term, terms_of_literal

_NEEDS = 3
"""At most so many needs are looked up; what else is needed is seen in the rows."""
_TERMS = 6
"""Of each literal at most so many terms, so many places apart."""
_APART = 2
_ENOUGH = 3
"""Of a literal that has fewer terms that are apart, so many."""
_WORTH_READING = 2000
"""A list with more than so many times the rows that are left is not worth reading."""
NO_ROWS: Ordinals = np.zeros(0, np.uint32)

Literals = tuple[tuple[bytes, ...], ...]
"""Alternatives, each as its terms."""
_DIGITS: Literals = ((DIGIT,),)


@dataclass(frozen=True)
class Sought:
    """What a row must have: of each need all terms of one literal, and the owner's and the group's term if any.

    `edgeless`: the needs as far as older segments tell, in which the edges of texts are in no term.
    """

    needs: tuple[Literals, ...]
    edgeless: tuple[Literals, ...]
    always: tuple[bytes, ...]

    @classmethod
    def of(cls, needs: Sequence[Need], *, owner: ObjectId | None, group: ObjectId | None) -> "Sought | None":
        """None when the index cannot tell: a literal of each need may be too short to have a term."""
        usable = _usable(needs)
        if not usable:
            return None
        always = [] if owner is None else [owner_term(owner)]
        if group is not None:
            always.append(group_term(group))
        return cls(usable, _usable(without_edges(needs)), tuple(always))

    def needs_of(self, outline: Outline) -> tuple[Literals, ...]:
        """Those that a segment tells of; none when it cannot tell which of its rows may be found."""
        return self.needs if outline.has_edges else self.edgeless

    def share(self, outline: Outline) -> float:
        """Which part of a segment's rows may be found, as far as the outline tells: more than that, or 0."""
        needs = self.needs_of(outline)
        shares = [max(min(map(outline.share_of, terms)) for terms in literals) for literals in needs]
        return min(shares, default=1.0)

    def plan(self, outline: Outline) -> "Plan":
        """What to read of a segment."""
        needs = [[_chosen(outline, terms) for terms in literals] for literals in self.needs_of(outline)]
        return Plan(outline, needs, self.always)


def _usable(needs: Sequence[Need]) -> tuple[Literals, ...]:
    """The needs that can be looked up, as terms. That a text has a digit is only worth knowing beside another one."""
    found = [tuple(dict.fromkeys(tuple(terms_of_literal(literal)) for literal in need)) for need in needs]
    usable = list(dict.fromkeys(literals for literals in found if all(literals)))
    return () if all(literals == _DIGITS for literals in usable) else tuple(usable[:_NEEDS])


def _union(lists: Sequence[Ordinals]) -> Ordinals:
    some = [each for each in lists if len(each)]
    return some[0] if len(some) == 1 else np.unique(np.concatenate([NO_ROWS, *some]))


def _chosen(outline: Outline, terms: Sequence[bytes]) -> list[bytes]:
    """Of a literal's terms those to look up: the ones that fewest rows have, as far as the outline tells, and apart,
    because what overlaps comes together; a short literal has no others, and needs all it has."""

    def bits(place: int) -> tuple[int, bool, int]:
        term = terms[place]
        # Of those that share a block the ones at edges are rarer, and the longer ones.
        return max(outline.directory.bits_of(term), BLOCK_BITS), not is_at_edge(term), -len(term)

    ranked = sorted(range(len(terms)), key=bits)
    chosen: list[int] = []
    for apart, most in ((_APART, _TERMS), (1, _ENOUGH)):
        for place in ranked:
            is_implied = any(abs(place - other) < apart or terms[place] in terms[other] for other in chosen)
            if len(chosen) < most and not is_implied:
                chosen.append(place)
    return [terms[place] for place in chosen]


@dataclass(frozen=True)
class Plan:
    """Where to read in a segment what is sought."""

    outline: Outline
    needs: Sequence[Sequence[Sequence[bytes]]]
    always: Sequence[bytes]

    @property
    def places(self) -> set[Place]:
        terms = [*self.always, LONG, *(term for literals in self.needs for terms in literals for term in terms)]
        numbers = {self.outline.directory.block_of(term) for term in terms}
        return {Place(self.outline.id, number) for number in numbers if number is not None}

    def rows(self, blocks: Mapping[Place, Block]) -> Ordinals:
        """The rows that have what is sought, or are too long to tell."""
        rows: Ordinals | None = None
        for literals in self.needs:
            rows = _union([self._rows_of_all(blocks, terms, rows) for terms in literals])
        rows = np.arange(self.outline.rows, dtype=np.uint32) if rows is None else rows
        rows = _union([rows, self._rows_of_all(blocks, [LONG], None)])
        for term in self.always:
            rows = self._rows_of_all(blocks, [term], rows)
        return rows

    def _rows_of_all(self, blocks: Mapping[Place, Block], terms: Sequence[bytes], among: Ordinals | None) -> Ordinals:
        """Those that have all the terms; of some rows, or of all."""
        entries = [entry for term in terms if (entry := self._entry(blocks, term)) is not None]
        if len(entries) < len(terms):
            return NO_ROWS
        rows = among
        for entry in sorted(entries, key=lambda entry: entry.count):
            if rows is None:
                rows = entry.rows(self.outline.rows)
            elif len(rows) * _WORTH_READING < entry.count:
                break  # to look at the rows costs less than to read the lists
            else:
                rows = entry.rows_among(rows, self.outline.rows)
        return NO_ROWS if rows is None else rows

    def _entry(self, blocks: Mapping[Place, Block], term: bytes) -> Entry | None:
        number = self.outline.directory.block_of(term)
        return None if number is None else blocks[Place(self.outline.id, number)].look_up(term)
