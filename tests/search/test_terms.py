"""Terms: what is a part of a text has no term that the text lacks."""

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from app.kit.literals import END, START, literals_of_pattern
from app.kit.normal_form import form_to_store
from app.kit.windows import fold
from app.search.plans import Literals, Sought
from app.search.terms import (
    DIGIT,
    LONG,
    LONGEST_TEXT,
    group_term,
    is_at_edge,
    owner_term,
    terms_of_literal,
    terms_of_text,
)

ID = ObjectId("0123456789abcdef01234567")
ENDS = ("\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029")
"""What a line may end with, wherever a database sees the end of a text before it."""
mixed = st.text(
    st.one_of(st.sampled_from("abc12E éß天气😀ｶ커K\0\u0301\r\n\2\3"), st.characters(exclude_categories=["Cs"]))
)


@given(mixed, st.data())
def test_a_part_of_a_text_has_no_other_terms_than_the_text(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    part = text[start : data.draw(st.integers(start, len(text)))]
    of_text = {term.encode() for term in terms_of_text(text)}

    for cased in (part, part.upper(), part.lower()):
        if fold(cased) in fold(text):
            assert set(terms_of_literal(fold(cased))) <= of_text


@given(mixed)
def test_a_text_has_the_terms_of_a_literal_that_is_all_of_it(text: str) -> None:
    folded = fold(text)
    of_text = {term.encode() for term in terms_of_text(text)}
    inner = {term for term in of_text - {DIGIT} if not is_at_edge(term)}
    lines = [folded, *(folded.removesuffix(end) for end in ENDS if folded.endswith(end))]
    whole = {term for line in lines for term in terms_of_literal(f"{START}{line}{END}")}

    assert whole - {DIGIT} == of_text - {DIGIT}
    if not {START, END} & set(folded):
        assert set(terms_of_literal(folded)) == (inner or of_text & {DIGIT})


@given(mixed)
def test_a_text_with_a_digit_has_a_term_that_says_so(text: str) -> None:
    form = form_to_store(text)
    has_digit = any(digit in (form or text) for digit in "0123456789")

    assert (DIGIT.decode() in set(terms_of_text(text, form))) == has_digit


@given(mixed.filter(lambda text: len(text) >= 3))
def test_three_characters_always_have_a_term(text: str) -> None:
    assert terms_of_literal(fold(text))


def test_chinese_is_looked_up_by_one_character_and_latin_by_three() -> None:
    assert list(map(bytes.decode, terms_of_literal("天气ab好"))) == ["天", "天气", "气", "气a", "ab好", "好"]
    assert terms_of_literal("ab") == []
    assert terms_of_literal("é") == []
    assert terms_of_literal("aaaa") == [b"aaa"]


def test_the_edges_of_a_text_have_terms() -> None:
    assert set(terms_of_text("ab")) == {"\2ab", "ab\3"}
    assert set(terms_of_text("a")) == {"\2a\3"}
    assert set(terms_of_text("天气")) == {"\2天", "天", "天气", "气", "气\3"}
    assert set(terms_of_text("")) == set()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_a_text_also_ends_before_the_end_of_its_last_line(end: str) -> None:
    assert set(terms_of_text(f"ab{end}")) >= {"ab\3", f"ab{end}"[-2:] + END}
    assert set(terms_of_text(f"天{end}")) >= {"天\3"}
    assert set(terms_of_text(f"a{end}")) >= {"\2a\3"}
    assert "ab\3" not in set(terms_of_text(f"ab{end}{end}"))


def test_a_digit_is_looked_up_where_nothing_else_can_be() -> None:
    assert terms_of_literal("1") == terms_of_literal("1a") == [DIGIT]
    assert terms_of_literal("1ab") == [b"1ab"]
    assert terms_of_literal("天1") == [term.encode() for term in ("天", "天1")]


def test_only_beside_something_else_a_digit_is_worth_looking_up() -> None:
    def needs(pattern: str) -> tuple[Literals, ...]:
        sought = Sought.of(literals_of_pattern(pattern), owner=None, group=None)
        return sought.needs if sought else ()

    assert needs("[0-9]{4}") == needs("a1") == ()
    assert needs("abc.*[0-9]") == (((b"abc",),), ((DIGIT,),))
    assert needs("天[5-7]\\d") == needs("天\\d") == (((b"\xe5\xa4\xa9",),), ((DIGIT,),))


def test_of_a_longer_text_nothing_is_told() -> None:
    assert set(terms_of_text("a" * LONGEST_TEXT)) == {"\2aa", "aaa", "aa\3"}
    assert set(terms_of_text("a" * (LONGEST_TEXT + 1))) == set()


def test_no_text_has_the_term_of_an_owner_a_group_or_long_texts() -> None:
    """Whatever stands in a text: those terms are longer than any of a text, or cannot be looked up in one."""
    longest = len("\U0010ffff".encode()) * 3

    assert len(owner_term(ID)) == len(group_term(ID)) > longest
    assert owner_term(ID) != group_term(ID)
    for own in ("\0l", "\0d"):
        assert set(terms_of_text(own)) == {f"\2{own}", f"{own}\3"}
        for text in (own, f"{own}天", f"天{own}", f"{own}a"):
            assert not {LONG, DIGIT} & set(terms_of_literal(fold(text)))
