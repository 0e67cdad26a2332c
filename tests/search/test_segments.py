"""Segments: an outline is stored and read, and tells where a key is and between which ones a row lies."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.search.building import Text
from app.search.keys import CHUNK, Key
from app.search.segments import Outline
from tests.search.segments import GROUPS, OWNERS, build, keys, texts


@given(texts())
def test_an_outline_is_read_as_it_was_stored(rows: list[Text]) -> None:
    outline = build(rows).outline
    again = Outline.of_row(outline.to_row())

    assert (again.id, again.rows, again.last_key) == (outline.id, len(rows), max(row.key for row in rows))
    assert again.first_key == min(row.key for row in rows)
    assert again.directory == outline.directory
    assert again.first_keys.pack() == outline.first_keys.pack()


@settings(max_examples=20)
@given(st.integers(CHUNK + 1, 3 * CHUNK), st.integers(0, 2**32), keys())
def test_it_tells_the_chunk_of_a_key_and_the_bounds_of_a_row(count: int, seed: int, other: Key) -> None:
    dice = random.Random(seed)
    ordered = sorted({(dice.randrange(6), dice.randbytes(12)) for _ in range(count)})
    outline = build([Text(key, OWNERS[0], GROUPS[0], "") for key in ordered]).outline

    assert all(outline.chunk_of(key) == number // CHUNK for number, key in enumerate(ordered))
    assert all(outline.bounds(number)[0] <= key <= outline.bounds(number)[1] for number, key in enumerate(ordered))
    before = sum(key <= other for key in ordered)
    assert outline.chunk_of(other) == max(0, before - 1) // CHUNK
