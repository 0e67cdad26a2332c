"""Text that can be stored: whole characters, a bounded length."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.llm.answer import AnswerText, well_formed


def joined(*pieces: str, max_bytes: int = 1000) -> str:
    text = AnswerText(max_bytes)
    return "".join([*map(text.take, pieces), text.end()])


def test_a_pair_split_over_two_pieces_is_joined() -> None:
    text = AnswerText(1000)
    assert [text.take("a\ud83d"), text.take("\ude00b"), text.end()] == ["a", "😀b", ""]


def test_lone_surrogates_become_replacement_characters() -> None:
    assert joined("a\ud83d") == "a\ufffd"
    assert joined("a\ud83d", "b") == "a\ufffdb"
    assert joined("\ude00a") == "\ufffda"
    assert joined("\ud83d", "", "\ud83d", "\ude00") == "\ufffd😀"


def test_a_trailing_line_end_does_not_hide_a_high_surrogate() -> None:
    assert joined("a\ud83d\n", "\ude00") == "a\ufffd\n\ufffd"


@given(st.text(st.sampled_from("a\n你😀\ud83d\ude00"), max_size=12), st.lists(st.integers(0, 12), max_size=5))
def test_any_split_gives_the_same_text(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert joined(*pieces) == well_formed(text)
    assert well_formed(text).encode().decode() == well_formed(text)


@given(st.lists(st.text("a你😀", max_size=5), max_size=6), st.integers(0, 30))
def test_the_limit_cuts_between_characters(pieces: list[str], limit: int) -> None:
    text = AnswerText(limit)
    out = "".join([*map(text.take, pieces), text.end()])
    whole = "".join(pieces)
    assert whole.startswith(out)
    assert len(out.encode()) <= limit
    assert text.is_full == (len(whole.encode()) > limit)
    assert text.is_full or out == whole
