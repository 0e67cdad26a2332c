"""Normal forms: what they are, what is found through them, and where in a text their parts come from."""

import unicodedata
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.asynchronous.collection import AsyncCollection

from app.kit.normal_form import PLAIN, Origins, form_path, form_to_store, literal_pattern, normal_form, stored_forms
from app.kit.repository import Row
from app.kit.search import Match, Search
from app.kit.windows import WIDTH, fold, windows_of
from tests.kit.samples import SampleRepository

LETTERS = "aeoABfi12ＡＢａｂ１２ﬁﬃ²½ⅣＩ①ﾊﾟﾎﾟパポｶﾞガ㍿株式会社éÅÅΩΩk한가각ㄱ天氣金金"
SIGNS = "., -()!?:&，．　－（）！？：＆…\u00a0、。｡"
MARKS = "\u0301\u0308\u030a\u1161\u11a8゙"
TEXTS = st.text(st.sampled_from(LETTERS + SIGNS + MARKS), max_size=12)


def is_joined(text: str) -> bool:
    """Whether a mark follows a sign that stays as it is: there the normal form and NFKC are two things."""
    return any(before in PLAIN and unicodedata.combining(mark) for before, mark in pairwise(text))


def nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


@given(TEXTS | st.text())
@settings(max_examples=500)
def test_a_normal_form_is_nfkc_but_for_signs_of_one_character(text: str) -> None:
    form = normal_form(text)

    assert normal_form(form) == form
    assert nfkc(form) == nfkc(text)
    assert is_joined(text) or not [each for each in form if nfkc(each) != each and each not in PLAIN]
    assert form_to_store(text) == (None if form == text else form)


def test_signs_of_one_character_are_spaces_punctuation_and_symbols() -> None:
    assert all(unicodedata.category(sign)[0] in "ZPS" for sign in PLAIN)
    assert all(nfkc(sign) == plain for sign, plain in PLAIN.items())
    assert {PLAIN[each] for each in "，　（！～｡"} == set(", (!~。")
    assert not [each for each in "…㎡²ＡⅡﬁ" if each in PLAIN]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("ＡＢＣ，１２３", "ABC，123"),
        ("ﬁne", "fine"),
        ("e\u0301te\u0301", "été"),
        ("ﾊﾞﾅﾅ", "バナナ"),
        ("…", "..."),
        ("20㎡", "20m2"),
        ("今天，天气很好！", None),
        ("plain", None),
        ("", None),
    ],
)
def test_few_texts_have_a_form_that_is_stored(text: str, form: str | None) -> None:
    assert form_to_store(text) == form
    assert stored_forms(("a", "b"), {"a": text, "c": text}) == {form_path("a"): form}


@given(TEXTS, st.data())
@settings(max_examples=500)
def test_every_part_of_a_form_comes_from_a_part_of_the_text(text: str, data: st.DataObject) -> None:
    form = normal_form(text)
    if not form:
        return
    start = data.draw(st.integers(0, len(form) - 1))
    end = data.draw(st.integers(start + 1, len(form)))

    first, last = Origins(text).range_of(start, end)

    assert 0 <= first < last <= len(text)
    assert form[start:end] in normal_form(text[first:last])
    assert Origins(text).range_of(0, len(form)) == (0, len(text))


@pytest.mark.parametrize(
    ("text", "part", "origin"),
    [
        ("，，ＡＢＣ", "BC", "ＢＣ"),
        ("an oﬃce", "f", "ﬃ"),
        ("cafe\u0301 noir", "é", "e\u0301"),
        ("今日はｶﾞﾗｽ", "ガラ", "ｶﾞﾗ"),
        ("one… two", "..", "…"),
        ("a ½ b", "1⁄2", "½"),
    ],
)
def test_places_in_a_form_are_places_in_the_text(text: str, part: str, origin: str) -> None:
    start = normal_form(text).index(part)
    first, last = Origins(text).range_of(start, start + len(part))

    assert text[first:last] == origin


@given(TEXTS, st.data())
@settings(max_examples=300)
def test_windows_hold_whatever_is_found(text: str, data: st.DataObject) -> None:
    form = normal_form(text)
    start = data.draw(st.integers(0, len(form)))
    part = form[start : data.draw(st.integers(start, len(form)))]

    assert any(window.startswith(fold(part)[:WIDTH]) for window in windows_of([text]))
    assert fold(part) == fold("".join(PLAIN.get(each, each) for each in part))


def row_of(number: int, text: str) -> Row:
    return {"_id": number, "title": text, **stored_forms(("title",), {"title": text})}


async def found(collection: AsyncCollection[Row], query: str, match: Match) -> set[int]:
    search = Search(("title",), query, match, case_sensitive=True, normalized=("title",))
    return {row["_id"] for row in await collection.find(search.condition, {"_id": 1}).to_list()}


def expected(texts: Iterable[str], query: str, match: Match) -> set[int]:
    """What a look at each text finds."""
    holds = str.startswith if match == "prefix" else str.__contains__
    return {number for number, text in enumerate(texts) if holds(text, query) or holds(nfkc(text), nfkc(query))}


@pytest.mark.parametrize("seed", range(6))
async def test_a_literal_is_found_where_nfkc_has_it(samples: SampleRepository, seed: int) -> None:
    """Also by the portable tier: of the database it needs ordinary regular expressions."""
    texts: list[str] = []

    @settings(max_examples=60, database=None, derandomize=True)
    @given(TEXTS)
    def draw(text: str) -> None:
        if not is_joined(text):
            texts.append(text + "xyz"[seed % 3] * (seed % 2))

    draw()
    await samples.collection.insert_many([row_of(number, text) for number, text in enumerate(texts)])
    queries = {text[start : start + size] for text in texts for start in range(3) for size in (1, 2, 5)} - {""}
    queries |= {normal_form(query) for query in queries} | {nfkc(query) for query in queries}
    for query in sorted(each for each in queries if not is_joined(each))[seed::6]:
        for match in ("literal", "prefix"):
            assert await found(samples.collection, query, match) == expected(texts, query, match), (query, match)


@pytest.mark.mongod
async def test_a_pattern_is_asked_of_the_text_and_of_its_form(samples: SampleRepository) -> None:
    texts = ["ＡＢＣ１", "ABC2", "ａｂｃ", "", "e\u0301", "é"]
    await samples.collection.insert_many([row_of(number, text) for number, text in enumerate(texts)])

    assert await found(samples.collection, "^[A-C]+[0-9]$", "regex") == {0, 1}
    assert await found(samples.collection, "Ａ.Ｃ", "regex") == {0}
    assert await found(samples.collection, "^.$", "regex") == {4, 5}
    assert await found(samples.collection, "^..$", "regex") == {4}
    assert await found(samples.collection, "^$", "regex") == {3}


def test_the_pattern_of_a_literal_holds_nothing_but_the_literal() -> None:
    assert literal_pattern("a.b") == r"a[\.․﹒．]b"
    assert literal_pattern("ﬁ") == "fi"
    assert literal_pattern("天") == "天"
