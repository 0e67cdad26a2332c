"""Snippets and the places of matches, against what Python finds in the same texts."""

import random
import re
from typing import Any

import httpx
import pytest

from app.conversations.snippets import LEAD, MAX_RANGES, REACH, SNIPPET
from app.services import Services
from tests.conftest import Person
from tests.conversations.searching import Archive, Json, marked, search

pytestmark = pytest.mark.mongod

PIECES = {
    "English": ["the", "mocha", "latte", "noon", "and", "Mocha", "moc"],
    "Chinese": ["今天", "天气", "很好", "，", "恋恋", "笔记本", "天"],
    "emoji": ["😀", "👩‍👩‍👧", "👍🏽", "🇫🇷", "❤️", " ", "mocha"],
    "combining marks": ["e\u0301", "e", "\u0301", "क्षि", "a\u0308\u0323", "mocha", " "],
}
NEEDLES = {"English": "mocha", "Chinese": "天", "emoji": "😀", "combining marks": "e\u0301"}


@pytest.fixture
async def archive(services: Services) -> Archive:
    return Archive(services)


async def one(archive: Archive, client: httpx.AsyncClient, ana: Person, content: str, **parameters: Any) -> Json:
    """The result for a message that is alone in its conversation."""
    home = await archive.conversation(ana.id)
    [id] = await archive.messages(ana.id, home, content)
    page = await search(client, conversation_id=str(home), **parameters)
    [item] = page["items"]
    assert item["message"]["id"] == id
    return dict(item)


def check(item: Json, content: str) -> None:
    """What holds for every snippet."""
    snippet = item["snippet"]
    text, start = snippet["text"], snippet["start"]
    assert snippet["length"] == len(content)
    assert content[start : start + len(text)] == text
    assert len(text) <= SNIPPET
    assert len(snippet["ranges"]) <= MAX_RANGES
    assert all(start <= low < high <= len(content) for low, high in snippet["ranges"])


@pytest.mark.parametrize("kind", PIECES)
async def test_places_are_those_that_python_finds(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, kind: str
) -> None:
    chance, needle = random.Random(kind), NEEDLES[kind]
    home = await archive.conversation(ana.id)
    contents = ["".join(chance.choices(PIECES[kind], k=chance.choice([1, 9, 60, 300]))) for _ in range(60)]
    ids = await archive.messages(ana.id, home, *contents)

    page = await search(as_ana, q=needle, case_sensitive="true", limit=100)

    by_id = dict(zip(ids, contents, strict=True))
    assert {each["message"]["id"] for each in page["items"]} == {id for id, text in by_id.items() if needle in text}
    assert len(page["items"]) > 10
    for item in page["items"]:
        content = by_id[item["message"]["id"]]
        expected = [[each.start(), each.end()] for each in re.finditer(re.escape(needle), content)]
        assert item["snippet"]["ranges"] == expected[:MAX_RANGES]
        check(item, content)


async def test_a_long_text_is_cut_between_words_around_the_match(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    content = "before " * 100 + "needle" + " behind" * 100

    item = await one(archive, as_ana, ana, content, q="needle")

    text = item["snippet"]["text"]
    assert re.fullmatch(r"(before )+needle( behind)+", text)
    assert LEAD < len(text) <= SNIPPET
    check(item, content)


@pytest.mark.parametrize("clusters", [["e\u0301\u0323"], ["👩‍👩‍👧"], ["👍🏽"], ["🇫🇷", "。"], ["❤️"]])
@pytest.mark.parametrize("shift", range(4))
async def test_a_text_without_words_is_cut_between_what_readers_see_as_characters(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, clusters: list[str], shift: int
) -> None:
    around = "".join(clusters) * 200
    content = around + "x" * shift + "needle" + around

    item = await one(archive, as_ana, ana, content, q="needle")

    whole = f"({'|'.join(clusters)})+"
    assert re.fullmatch(f"{whole}{'x' * shift}needle{whole}", item["snippet"]["text"])


@pytest.mark.parametrize(
    ("content", "text"),
    [("needle", "needle"), ("needle" + " tail" * 60, "needle" + " tail" * 38), ("x" * 300 + "needle", None)],
)
async def test_matches_at_the_edges_have_what_is_there(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, content: str, text: str | None
) -> None:
    item = await one(archive, as_ana, ana, content, q="needle")

    assert item["snippet"]["text"] == (content[-SNIPPET:] if text is None else text)
    check(item, content)


@pytest.mark.parametrize(
    ("pattern", "content", "expected"),
    [
        ("^a", "a a\na", ["a"]),
        ("(?m)^a", "a a\na", ["a", "a"]),
        ("(?<=b)a", "a ba ba", ["a", "a"]),
        ("x*", "a xx x", ["xx", "x"]),
        ("(?=a)", "bab", []),
        (".", "天😀e\u0301", ["天", "😀", "e", "\u0301"]),
        ("(天)(.)", "今天好天坏", ["天好", "天坏"]),
        ("a$", "a a", ["a"]),
        ("$needle", "$needle", None),
        ("(?s).+", "whole\ntext", ["whole\ntext"]),
    ],
)
async def test_a_pattern_marks_what_the_database_matches(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, pattern: str, content: str, expected: list[str] | None
) -> None:
    if expected is None:
        page = await search(as_ana, q=pattern, match="regex")
        assert page["items"] == []
        return
    item = await one(archive, as_ana, ana, content, q=pattern, match="regex")

    assert marked(item, content) == expected


async def test_a_text_of_a_mebibyte_is_marked_near_its_first_match(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    content = "天" * 300_000 + "needle needle" + "天" * (REACH + 1) + "needle"

    item = await one(archive, as_ana, ana, content, q="needle")

    assert item["snippet"]["ranges"] == [[300_000, 300_006], [300_007, 300_013]]
    assert "needle needle" in item["snippet"]["text"]
    check(item, content)


async def test_a_lookbehind_marks_its_first_match_also_in_a_long_text(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    content = "y" * REACH + "xneedle xneedle needle"

    item = await one(archive, as_ana, ana, content, q="(?<=x)needle", match="regex")

    assert item["snippet"]["ranges"] == [[REACH + 1, REACH + 7], [REACH + 9, REACH + 15]]


async def test_a_pattern_that_gives_up_behind_its_first_match_shows_that(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    content = "start " + "a" * 3000 + "!"

    item = await one(archive, as_ana, ana, content, q="start|(a+)+$", match="regex")

    assert marked(item, content) == ["start"]


async def test_a_pattern_that_found_a_text_marks_it_however_many_steps_that_takes(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    content = "b" * 3000 + "a" * 14 + "!" + "a" * 12

    item = await one(archive, as_ana, ana, content, q="(a+)+$", match="regex")

    assert item["snippet"]["ranges"] == [[3015, 3027]]


@pytest.mark.parametrize("pattern", [".", "x*", "()" * 15 + ".", "(((((((.*)))))))", "(.*\\n?)*"])
async def test_a_page_of_long_texts_full_of_matches_is_answered(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, pattern: str
) -> None:
    home = await archive.conversation(ana.id)
    contents = ["lorem ipsum dolor " * 20_000, *["lorem ipsum dolor " * 1000] * 20]
    await archive.messages(ana.id, home, *contents)

    page = await search(as_ana, q=pattern, match="regex", limit=100)

    assert len(page["items"]) == len(contents)
    assert all(len(each["snippet"]["text"]) > 100 for each in page["items"])
