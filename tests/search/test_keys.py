"""Keys: stored by columns and read again, and ordered as the list is."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.search.keys import CHUNK, Key, Keys
from tests.search.segments import keys, mask

any_keys = keys(st.one_of(st.integers(0, 3), st.integers(-(2**63), 2**63 - 1)))
many = st.lists(any_keys, min_size=1, max_size=40)


def listed(some: Keys) -> list[Key]:
    return [some[number] for number in range(len(some))]


@given(many)
def test_keys_are_read_as_they_were_written(some: list[Key]) -> None:
    assert listed(Keys.unpack(*Keys.of(some).pack())) == some


@given(many)
def test_they_are_ordered_by_time_and_then_by_id(some: list[Key]) -> None:
    packed = Keys.of(some)

    assert [packed[place] for place in packed.order().tolist()] == sorted(some)


@given(many, many)
def test_they_are_joined_in_the_order_of_the_parts(some: list[Key], others: list[Key]) -> None:
    assert listed(Keys.joined([Keys.of(some), Keys.of(others)])) == some + others


@given(many, st.data())
def test_removed_ones_keep_their_time_and_lose_their_id(some: list[Key], data: st.DataObject) -> None:
    removed = data.draw(st.sets(st.integers(0, len(some) - 1)))
    left = Keys.of(some).without(mask(len(some), sorted(removed)))

    assert np.flatnonzero(left.gone()).tolist() == sorted(removed)
    assert listed(left) == [(time, bytes(12) if at in removed else id) for at, (time, id) in enumerate(some)]


def test_chunks_are_parts_of_the_same_length_but_for_the_last() -> None:
    some = Keys.of([(number, number.to_bytes(12)) for number in range(2 * CHUNK + 5)])
    chunks = [some.chunk(number) for number in range(3)]

    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 5]
    assert [key for chunk in chunks for key in listed(chunk)] == listed(some)
    assert listed(Keys.unpack(*chunks[2].pack())) == listed(chunks[2])
