"""Patterns in the forms they are asked in match what they match as they are, and no text keeps them busy."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from app.kit.patterns import in_one_go
from app.kit.search import Search
from tests.kit.test_indexed_search import patterns, slow, texts

pytestmark = pytest.mark.mongod
DATABASE = "verbatim_test_patterns"
LENGTHS = [100, 512, 513, 2_000, 20_000, 20_001, 60_000, 100_001, 1_000_000]
UNKNOWN_TO_IT = "too complex"


class Server:
    """Asks the database whether a text matches."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self.rows = client[DATABASE]["texts"]

    def search(self, text: str, pattern: str) -> bool | str:
        """As a search does."""
        self.rows.replace_one({"_id": 1}, {"text": text}, upsert=True)
        return self._answer({"_id": 1, **Search(("text",), pattern, "regex").condition})

    def plain(self, text: str, pattern: str) -> bool | str:
        """The pattern as it is."""
        self.rows.replace_one({"_id": 1}, {"text": text}, upsert=True)
        regex = {"$regexMatch": {"input": "$text", "regex": {"$literal": pattern}, "options": "i"}}
        return self._answer({"_id": 1, "$expr": regex})

    def place(self, text: str, pattern: str, form: Callable[[str], str] = str) -> Any:
        """Of the first match, and what it is."""
        self.rows.replace_one({"_id": 1}, {"text": text}, upsert=True)
        found = {"$regexFind": {"input": "$text", "regex": {"$literal": form(pattern)}, "options": "i"}}
        try:
            [row] = self.rows.aggregate([{"$match": {"_id": 1}}, {"$project": {"found": found}}])
        except OperationFailure as error:
            return UNKNOWN_TO_IT if error.code == 51156 else "invalid"
        return row["found"]

    def _answer(self, condition: dict[str, Any]) -> bool | str:
        try:
            return self.rows.count_documents(condition) == 1
        except OperationFailure as error:
            return UNKNOWN_TO_IT if error.code == 51156 else "invalid"


@pytest.fixture(scope="module")
def server(mongo_uri: str) -> Iterator[Server]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri) as client:
        yield Server(client)
        client.drop_database(DATABASE)


@given(texts, patterns, st.sampled_from(LENGTHS[:6]))
@slow
def test_a_form_matches_what_the_pattern_matches(server: Server, text: str, pattern: str, length: int) -> None:
    """The texts are continued with what no pattern asks for, or a long one would be a short one."""
    if len(pattern) > 200 or "(*" in pattern:
        return
    for continued in (text, f"{text}\n{'~' * length}", f"{'~' * length}\n{text}"):
        plain, asked = server.plain(continued, pattern), server.search(continued, pattern)
        assert asked in (plain, UNKNOWN_TO_IT), (continued, pattern)
        if plain == "invalid":
            assert asked == "invalid"


@given(texts, patterns)
@slow
def test_in_one_go_the_same_place_is_found(server: Server, text: str, pattern: str) -> None:
    plain = server.place(text, pattern)
    if plain not in ("invalid", UNKNOWN_TO_IT) and "(*" not in pattern:
        assert server.place(text, pattern, in_one_go) in (plain, UNKNOWN_TO_IT), (text, pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "x)|(?:y",
        "a\\Qb",
        "(?x)a # b",
        "a(?R)?b",
        "a\\g<0>?b",
        "(?x: a # c)\n)b",
        "a|b",
        "^b|a$",
        "(?#note)a",
        "b$|x",
        "\\Ga",
    ],
)
@pytest.mark.parametrize("text", ["ab", "ba", "x", "y", "", "aabb", "a b", "a # b"])
@pytest.mark.parametrize("length", [0, 600, 30_000])
def test_patterns_that_reach_beyond_themselves_mean_the_same(
    server: Server, pattern: str, text: str, length: int
) -> None:
    for continued in (text, f"{text}{'~' * length}", f"{'~' * length}{text}"):
        assert server.search(continued, pattern) == server.plain(continued, pattern)


@pytest.mark.parametrize("length", LENGTHS)
def test_plain_words_are_found_in_a_text_of_any_length(server: Server, length: int) -> None:
    text = "lorem ipsum, " * (length // 13) + "zebra 4711"

    assert server.search(text, "zebra [0-9]{4}") is True
    assert server.search(text, r"^.*\bquagga\b") in (False, UNKNOWN_TO_IT)
    assert server.search(text, "quagga|okapi") is False


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("pattern", ["a.*b", "[ab].*[bc]", "(?=.*b)a", ".{1,100}.*b", "(a|aa)+$x"])
def test_no_single_text_keeps_the_server_busy(server: Server, pattern: str, length: int) -> None:
    """As they are these take minutes and hours for the longer texts."""
    assert server.search("a" * length, pattern) in (False, UNKNOWN_TO_IT)


def test_a_pattern_looks_for_its_own_beginning() -> None:
    assert in_one_go("a|b") == r"\A(?s:.*?)\K(?:a|b)"
