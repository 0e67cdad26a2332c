"""What the index finds is what reading every row finds: for all texts, all queries and all patterns."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from app.kit.search import Search
from app.kit.windows import FIELD, window_indexes, windows_of

pytestmark = pytest.mark.mongod
DATABASE = "verbatim_test_indexed_search"
PATHS = ("name", "title")
ATOMS = [
    *"aAbBiIkKsSxyz019 -_.,|*+?^$()[]{}\\/#&~\"'\t\n",
    *(
        "ß",
        "ẞ",
        "ss",
        "İ",
        "ı",
        "ſ",
        "ﬅ",
        "ﬆ",
        "ﬁ",
        "fi",
        "ǅ",
        "ǆ",
        "Σ",
        "ς",
        "σ",
        "\u212a",
        "\u212b",
        "å",
        "\u2126",
        "ω",
    ),
    *("\u00b5", "\u03bc", "\u1fd3", "\u0390", "\u1100\u1161", "\uac00"),
    *("é", "e\u0301", "\u0301", "東", "京", "东", "恋恋", "한", "ａ", "Ａ", "１", "ﾊ"),
    *("😀", "👨‍👩‍👧", "\u200d", "🇩🇪", "ƛ", "\u0378", "Ა", "ა", "Ꭰ", "ꭰ", "𐐀", "𐐨", "\ud7ff", "\U0010ffff", "\x7f"),
]
WORDS = [
    "Conversation about ",
    "Anna Müller",
    "北京天气预报",
    "mocha",
    "MOCHA latte",
    "straße",
    "İstanbul",
    "x@mail.local",
]
texts = st.lists(st.sampled_from(ATOMS + WORDS), max_size=9).map("".join)
slow = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def rows(mongo_uri: str) -> Iterator[Collection[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri) as client:
        collection: Collection[dict[str, Any]] = client[DATABASE]["rows"]
        collection.create_indexes(window_indexes("owner"))
        yield collection
        client.drop_database(DATABASE)


def fill(rows: Collection[dict[str, Any]], stored: list[tuple[str, str]]) -> None:
    """Rows with these texts; each third one has no windows yet."""
    rows.delete_many({})
    for number, pair in enumerate(stored):
        windows = {FIELD: windows_of(pair)} if number % 3 else {}
        rows.insert_one({"_id": number, "owner": number % 2, **dict(zip(PATHS, pair, strict=True)), **windows})


def found(rows: Collection[dict[str, Any]], condition: dict[str, Any], **options: Any) -> list[int]:
    return [row["_id"] for row in rows.find(condition, {"_id": 1}, sort=[("_id", 1)], **options)]


def agree(rows: Collection[dict[str, Any]], indexed: dict[str, Any], read: dict[str, Any]) -> None:
    try:
        expected = found(rows, read, hint=[("$natural", 1)])
    except OperationFailure:
        return  # the pattern is refused, or too complex for a text
    assert found(rows, indexed, hint=FIELD) == expected
    assert found(rows, {"owner": 1, **indexed}, hint=f"owner_{FIELD}") == [id for id in expected if id % 2]
    assert found(rows, indexed) == expected


def agree_on(rows: Collection[dict[str, Any]], search: Search) -> None:
    agree(rows, search.indexed_condition, search.condition)


def recased(text: str, how: str) -> str:
    return {"lower": text.lower(), "upper": text.upper(), "swap": text.swapcase()}.get(how, text)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=9), st.data())
@slow
def test_a_literal_is_found_wherever_it_is(rows: Collection[dict[str, Any]], stored: Any, data: st.DataObject) -> None:
    fill(rows, stored)
    for _ in range(6):
        text = data.draw(st.sampled_from(stored))[data.draw(st.integers(0, 1))] or data.draw(texts) or "x"
        start = data.draw(st.integers(0, len(text) - 1))
        part = text[start : start + data.draw(st.integers(1, 40))]
        query = recased(part, data.draw(st.sampled_from(["as it is", "lower", "upper", "swap"])))
        for match in ("literal", "prefix"):
            for sensitive in (True, False):
                asked: dict[str, Any] = {"paths": PATHS, "query": query, "match": match, "case_sensitive": sensitive}
                agree_on(rows, Search(**asked, has_windows=True))
        agree_on(rows, Search(("title",), query, has_windows=True))


characters = st.sampled_from([each for each in ATOMS if len(each) == 1])


def escaped(character: str) -> st.SearchStrategy[str]:
    forms = [f"\\x{{{ord(character):x}}}", f"[{character}]" if character.isalnum() else f"\\x{{{ord(character):x}}}"]
    forms.append(character if character.isalnum() or not character.isascii() else f"\\{character}")
    return st.sampled_from([*forms, forms[-1]])


atoms = st.one_of(
    characters.flatmap(escaped),
    characters.flatmap(escaped),
    st.sampled_from(WORDS[1:]).map(lambda word: word.replace(".", "\\.")),
    st.sampled_from([".", "\\d", "\\w", "\\s", "\\b", "^", "$", "\\A", "[a-k]", "[^a]", "[aA]", "[[:alpha:]]", "\\v"]),
    st.sampled_from(["(?i)", "(?-i)", "\\Qa.b\\E", "(?s)", "\\h", "\\R", "\\pL", "\\1", "]", "}", "[]a]", "(?x)"]),
)
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(st.sampled_from(["(", "(?:", "(?i:", "(?=", "(?!", "(?<n>", "(?>"]), inner)
        .map("".join)
        .map("{})".format),
        st.tuples(inner, st.sampled_from("?*+")).map(lambda two: f"(?:{two[0]}){two[1]}"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "+?", "*+", "{2}", "{1,2}", "{0}", "{,2}"])).map("".join),
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=9), st.lists(patterns, min_size=1, max_size=6))
@slow
def test_a_pattern_finds_what_it_matches(rows: Collection[dict[str, Any]], stored: Any, asked: list[str]) -> None:
    fill(rows, stored)
    for query in asked:
        if len(query) > 200 or "(*" in query:
            continue
        for sensitive in (True, False):
            of: dict[str, Any] = {"paths": PATHS, "query": query, "match": "regex", "case_sensitive": sensitive}
            try:
                agree_on(rows, Search(**of, has_windows=True))
            except OperationFailure:
                raise AssertionError(query) from None


@given(texts.filter(bool), texts, texts, st.sampled_from(["", "(?i)", "x?", "^"]))
@slow
def test_a_pattern_made_of_a_text_finds_it(
    rows: Collection[dict[str, Any]], middle: str, before: str, behind: str, start: str
) -> None:
    """Patterns by chance rarely match; this one does."""
    fill(rows, [("", ""), (f"{before}{middle}{behind}", ""), ("", middle.swapcase())])
    literal = "".join(f"\\x{{{ord(each):x}}}" if each in ATOMS[:50] else each for each in middle)[:150]
    of: dict[str, Any] = {"paths": PATHS, "query": f"{start}.*(?:{literal})", "match": "regex"}
    agree_on(rows, Search(**of, has_windows=True))
