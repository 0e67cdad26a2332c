"""Merging: the segment of several says what one of all their rows would say."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.search.building import Text
from app.search.keys import Keys
from tests.search.segments import GROUPS, OWNERS, Found, Stored, build, found_in, mask, merged, texts

at_once = st.integers(1, 3)


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[Text], list[list[Text]]]:
    """Rows, and several lots of them, which may share some and together have all."""
    rows = draw(texts(most=40))
    lots = [draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row.key)) for _ in range(draw(at_once))]
    rest = [row for row in rows if not any(row in lot for lot in lots)]
    return rows, [lot for lot in (*lots, rest) if lot]


def listed(keys: Keys) -> list[tuple[int, bytes]]:
    return [keys[number] for number in range(len(keys))]


@settings(max_examples=60)
@given(parts(), at_once)
def test_it_is_what_one_segment_of_all_rows_is(given: tuple[list[Text], list[list[Text]]], at_once: int) -> None:
    rows, lots = given
    new = merged([Stored.of(build(lot)) for lot in lots], at_once)

    assert new is not None
    assert listed(new.keys) == sorted(row.key for row in rows)
    assert new.found == found_in(rows)
    assert new.outline.rows == len(rows)
    assert new.outline.directory.first_terms == [block.terms.to_list()[0] for block in new.blocks]


@settings(max_examples=60)
@given(parts(), st.sets(st.sampled_from(GROUPS)), at_once)
def test_removed_rows_are_left_out(given: tuple[list[Text], list[list[Text]]], groups: set[object], one: int) -> None:
    """Also where only the keys say so: a removal may be cut short anywhere."""
    rows, lots = given
    stored = []
    for lot in lots:
        ordered = sorted(lot, key=lambda row: row.key)
        draft = build(lot)
        gone = mask(len(lot), [at for at, row in enumerate(ordered) if row.group in groups])
        stored.append(Stored(draft.outline, draft.keys.without(gone), draft.blocks))
    left = [row for row in rows if row.group not in groups]
    new = merged(stored, one)

    assert (new is None) == (not left)
    assert (new.found if new else {}) == found_in(left)
    assert (listed(new.keys) if new else []) == sorted(row.key for row in left)


def test_segments_of_many_blocks_are_merged_piece_by_piece() -> None:
    words = [" ".join(f"w{number * step % 5000:04}" for step in range(1, 60)) for number in range(900)]
    rows = [
        Text((number % 700, number.to_bytes(12)), OWNERS[0], GROUPS[number % 4], word)
        for number, word in enumerate(words, 1)
    ]
    lots = [rows[:400], rows[300:700], rows[700:]]
    stored = [Stored.of(build(lot)) for lot in lots]
    assert min(len(part.blocks) for part in stored) >= 4

    expected: Found = found_in(rows)
    for at_once in (1, 4):
        new = merged(stored, at_once)
        assert new is not None
        assert new.found == expected
        again = merged([new, stored[0]], at_once)
        assert again is not None
        assert again.found == expected
