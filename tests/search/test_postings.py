"""Posting lists: whatever is encoded is decoded, all of it or a part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.postings import count_of, decode, decode_one, encode, from_varints, members, sizes, varints
from tests.search.segments import lists_of, mask, rows_of


@st.composite
def segments(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """How many rows there are, and some lists of them."""
    rows = draw(st.one_of(st.integers(1, 70), st.sampled_from([2**15, 2**20 + 1, 2**31])))
    few = st.sets(st.integers(0, rows - 1), min_size=1, max_size=40)
    lists = draw(st.lists(few, min_size=1, max_size=12))
    return rows, [sorted(each) for each in lists]


@given(segments(), st.data())
def test_any_lists_are_read_as_they_were_written(segment: tuple[int, list[list[int]]], data: st.DataObject) -> None:
    rows, lists = segment
    packed = lists_of(lists)
    bits = encode(packed, rows)
    first = data.draw(st.integers(0, len(lists) - 1))
    last = data.draw(st.integers(first + 1, len(lists)))

    assert rows_of(decode(bits, packed.counts, rows)) == lists
    assert decode_one(bits, packed.counts, rows, first).tolist() == lists[first]
    assert rows_of(packed.part(first, last)) == lists[first:last]


@given(segments(), st.data())
def test_members_of_a_list_are_told_from_others(segment: tuple[int, list[list[int]]], data: st.DataObject) -> None:
    rows, lists = segment
    packed = lists_of(lists)
    bits = encode(packed, rows)
    number = data.draw(st.integers(0, len(lists) - 1))
    likely = st.sampled_from([row + step for row in lists[number] for step in (-1, 0, 1) if 0 <= row + step < rows])
    some = sorted(data.draw(st.sets(st.one_of(likely, st.integers(0, rows - 1)), max_size=20)))

    found = members(bits, packed.counts, rows, number, np.array(some, np.uint32))
    assert found.tolist() == [row in lists[number] for row in some]


@given(segments())
def test_the_sizes_are_those_of_what_is_written(segment: tuple[int, list[list[int]]]) -> None:
    rows, lists = segment
    packed = lists_of(lists)
    bits = encode(packed, rows)
    told = int(sizes(packed.counts, rows).sum())

    assert told <= 8 * (len(bits.lows) + len(bits.highs)) < told + 16


@pytest.mark.parametrize(
    ("rows", "lists"),
    [
        (1, [[0]]),
        (1, [[0], [0], [0]]),
        (2, [[1], [0, 1]]),
        (4096, [list(range(4096)), [4095], [0]]),
        (3_000_000, [list(range(0, 3_000_000, 7)), [2_999_999], list(range(2_990_000, 3_000_000))]),
        (2**32 - 1, [[0, 2**32 - 2]]),
    ],
)
def test_lists_at_the_edges_are_read_as_they_were_written(rows: int, lists: list[list[int]]) -> None:
    packed = lists_of(lists)

    assert rows_of(decode(encode(packed, rows), packed.counts, rows)) == lists


def test_no_lists_are_no_lists() -> None:
    nothing = lists_of([])

    assert rows_of(decode(encode(nothing, 5), nothing.counts, 5)) == []
    assert varints(nothing.counts) == b""
    assert from_varints(b"").tolist() == []


@given(segments().filter(lambda segment: segment[0] <= 70), st.data())
def test_removed_rows_are_in_no_list_and_empty_lists_are_gone(
    segment: tuple[int, list[list[int]]], data: st.DataObject
) -> None:
    rows, lists = segment
    removed = data.draw(st.sets(st.integers(0, rows - 1)))
    kept, is_left = lists_of(lists).without(mask(rows, sorted(removed)))
    expected = [[row for row in each if row not in removed] for each in lists]

    assert rows_of(kept) == [each for each in expected if each]
    assert is_left.tolist() == [bool(each) for each in expected]


@given(st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**35 - 1))))
def test_numbers_are_read_as_they_were_written(numbers: list[int]) -> None:
    assert from_varints(varints(np.array(numbers, np.int64))).tolist() == numbers


@pytest.mark.parametrize("number", [0, 127, 128, 2**14 - 1, 2**14, 2**21, 2**28, 2**35 - 1])
def test_numbers_take_a_byte_for_seven_bits(number: int) -> None:
    assert len(varints(np.array([number], np.int64))) == max(1, -(-number.bit_length() // 7))
    assert from_varints(varints(np.array([number] * 3, np.int64))).tolist() == [number] * 3


@given(st.integers(1, 2**21), st.data())
def test_the_size_of_a_list_tells_how_many_ordinals_it_has(rows: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, rows))
    [size] = sizes(np.array([count], np.int64), rows).tolist()
    assert count_of(size, rows) == count
