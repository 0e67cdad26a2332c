"""Windows: whatever a text contains begins one of them, and folding agrees with the database about every character."""

import hashlib
import sys
from typing import Any

import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.collection import Collection

from app.kit.windows import FIELD, WIDTH, fold, is_foldable, may_contain, window_indexes, windows_of, with_windows

CHARACTERS = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
CASED = [each for each in CHARACTERS if len({each, each.lower(), each.upper(), each.casefold(), each.title()}) > 1]


@given(st.text(), st.data())
def test_a_part_of_a_text_begins_one_of_its_windows(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    part = text[start : data.draw(st.integers(start, len(text)))]

    assert len(fold(text)) == len(text)
    assert fold(part) in fold(text)
    assert any(window.startswith(fold(part)[:WIDTH]) for window in windows_of([text]))


@given(st.text())
def test_case_makes_no_difference_to_what_is_folded(text: str) -> None:
    same_length = [each for each in (text.lower(), text.upper(), text.swapcase()) if len(each) == len(text)]

    assert all(fold(each.lower()) == fold(each) for each in same_length if len(each.lower()) == len(each))
    assert fold(fold(text)) == fold(text)


def test_windows_are_short_and_each_there_once() -> None:
    assert windows_of(["Anna", "ANNA@x"]) == ["anna", "nna", "na", "a", "anna@x", "nna@x", "na@x", "a@x", "@x", "x"]
    assert windows_of(["abcdefghij"])[:3] == ["abcdefgh", "bcdefghi", "cdefghij"]
    assert windows_of(["", ""]) == [""]


def test_windows_are_renewed_with_the_texts_that_share_them() -> None:
    assert with_windows(("a", "b"), {"a": "x", "b": "y", "c": 1}) == {"a": "x", "b": "y", "c": 1, FIELD: ["x", "y"]}
    assert with_windows(("a", "b"), {"c": 1}) == {"c": 1}
    with pytest.raises(ValueError, match="together"):
        with_windows(("a", "b"), {"a": "x"})


def test_a_long_literal_is_asked_for_at_several_places() -> None:
    condition = may_contain([["abcdefghijklmnopqrstuvwxyz" * 4], ["xy", "z"]])

    wanted = [each[FIELD]["$in"] for each in condition["$and"]]
    assert [each[0] for each in wanted[:1] + wanted[2:]] == ["abcdefgh", "ghijklmn", "mnopqrst"]
    assert [getattr(each, "pattern", each) for each in wanted[1]] == ["^xy", "^z", None]
    assert may_contain([["abcdefgh"]]) == {FIELD: {"$in": ["abcdefgh", None]}}


def test_what_folding_means_has_not_changed() -> None:
    """When this fails (a Python of a later Unicode, say), rows that are stored already have other windows: give the
    field another number."""
    table = "".join(each + fold(each) for each in CASED if is_foldable(each))

    assert hashlib.sha256(table.encode()).hexdigest()[:16] == "92c97c8232b45d0b"


@pytest.mark.parametrize("character", ["\0", "\ud800", "\u0378", "ƛ", "ĸ"])
def test_characters_that_a_later_unicode_may_fold_otherwise_are_left_out(character: str) -> None:
    assert not is_foldable(character)


@pytest.mark.parametrize("character", ["a", "Ä", "ß", "İ", "恋", "한", "😀", "\u200d", "\u0301", "|", " ", "ａ"])
def test_all_others_are_not(character: str) -> None:
    assert is_foldable(character)


@pytest.mark.mongod
def test_what_the_database_holds_for_equal_is_folded_to_one_character(mongo_uri: str) -> None:
    """Asked for every character that has a case."""
    codes = [f"\\x{{{ord(each):x}}}" for each in CASED]
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri) as client:
        for start in range(0, len(codes), 100):
            finds = {
                str(index): {"$regexFindAll": {"input": "".join(CASED), "regex": {"$literal": code}, "options": "i"}}
                for index, code in enumerate(codes[start : start + 100], start)
            }
            asked: list[dict[str, Any]] = [{"$documents": [{}]}, {"$project": finds}]
            found: dict[str, list[dict[str, str]]] = client.admin.aggregate(asked).next()
            for name, matches in found.items():
                assert {fold(each["match"]) for each in matches} == {fold(CASED[int(name)])}, name


@pytest.mark.mongod
def test_every_character_is_a_tight_range_of_the_index(mongo_uri: str) -> None:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri) as client:
        options: CodecOptions[dict[str, Any]] = CodecOptions(unicode_decode_error_handler="replace")
        rows: Collection[dict[str, Any]] = client["verbatim_test_windows"].get_collection(
            "rows", options
        )  # an upper bound need not be Unicode
        rows.create_indexes(window_indexes())
        for character in [*map(chr, range(1, 128)), "\ud7ff", "\U0010ffff", "恋", "\u07ff"]:
            rows.replace_one({}, {FIELD: windows_of([f"{character}b"])}, upsert=True)
            plan = rows.find(may_contain([[fold(character)]]), hint=FIELD).explain()
            bounds = plan["queryPlanner"]["winningPlan"]["inputStage"]["indexBounds"][FIELD]
            assert plan["executionStats"]["nReturned"] == 1, character
            assert '["", {})' not in bounds, character
        client.drop_database("verbatim_test_windows")
