"""Scrubbing: a block without the removed rows says what it said of the others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.search.building import Text
from app.search.scrubbing import scrub
from tests.search.segments import GROUPS, Stored, build, found_in, mask, merged, texts


@settings(max_examples=60)
@given(texts(), st.sets(st.sampled_from(GROUPS)))
def test_what_is_left_is_what_the_other_rows_say(rows: list[Text], groups: set[object]) -> None:
    ordered = sorted(rows, key=lambda row: row.key)
    draft = build(rows)
    gone = mask(len(rows), [at for at, row in enumerate(ordered) if row.group in groups])
    changed = [scrub(block, gone) for block in draft.blocks]
    scrubbed = Stored(
        draft.outline,
        draft.keys.without(gone),
        [new or old for new, old in zip(changed, draft.blocks, strict=True)],
    )
    left = [row for row in rows if row.group not in groups]
    new = merged([scrubbed], 1)

    assert scrubbed.found == found_in(left)
    assert any(block is not None for block in changed) == (len(left) < len(rows))
    assert (new.found if new else {}) == found_in(left)


def test_a_block_of_removed_rows_only_has_no_terms() -> None:
    draft = build([Text((1, bytes([1] * 12)), GROUPS[0], GROUPS[0], "abc")])
    empty = scrub(draft.blocks[0], mask(1, [0]))

    assert empty is not None
    assert empty.terms.to_list() == []
    assert empty.find(b"abc", 1) is None
    assert scrub(empty, mask(1, [0])) is None
