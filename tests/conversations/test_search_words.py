"""match=text: MongoDB's text index, where the operator has asked for it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.conversations import text_index
from app.conversations.model import Message
from app.services import Services
from tests.api.calls import fields_at_fault
from tests.conftest import Person
from tests.conversations.searching import Archive, found, marked, results, search
from tests.processes import ServerProcess

pytestmark = pytest.mark.mongod

CONTENTS = {
    "running": "She was running to the café",
    "runs": "He runs and runs, as runners do",
    "walk": "They walk home, naïvely. Nobody ran",
    "phrase": "the hot coffee was gone",
    "scattered": "coffee that is hot",
    "weather": "今天天气很好，我们去公园",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"text_search": True})


@pytest.fixture
async def index(services: Services) -> AsyncIterator[None]:
    """The text index of the tests' database while a test runs."""
    await text_index.settle(services.search.text_language)
    yield
    await text_index.settle(None)


@pytest.fixture
async def names(services: Services, ana: Person, ben: Person, index: None) -> dict[str, str]:
    """What Ana's messages are called, by their ids; Ben has the same."""
    archive = Archive(services)
    home = await archive.conversation(ana.id, tags=["film"])
    ids = await archive.messages(ana.id, home, *CONTENTS.values())
    await archive.messages(ben.id, await archive.conversation(ben.id), *CONTENTS.values())
    return dict(zip(ids, CONTENTS, strict=True))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("run", {"running", "runs"}),
        ("runs -café", {"runs"}),
        ("cafe", {"running"}),
        ('"hot coffee"', {"phrase"}),
        ("hot coffee", {"phrase", "scattered"}),
        ("unn", set()),
        ("天气", set()),
        ("the", set()),
        ('"unbalanced', set()),
        ("walk $where {}", {"walk"}),
    ],
)
async def test_words_are_found_by_their_stems_and_not_by_their_parts(
    as_ana: httpx.AsyncClient, names: dict[str, str], asked: str, expected: set[str]
) -> None:
    assert {names[id] for id in await found(as_ana, q=asked, match="text")} == expected


async def test_the_best_is_first_and_pages_follow_each_other(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, index: None
) -> None:
    archive = Archive(services)
    home = await archive.conversation(ana.id)
    await archive.messages(ana.id, home, *["mocha " * (1 + number % 5) + "and words" for number in range(40)])

    whole = await results(as_ana, q="mocha", match="text", limit=100)
    paged = await results(as_ana, q="mocha", match="text", limit=7)

    keys = [(each["score"], each["message"]["id"]) for each in whole]
    assert len(keys) == 40
    assert keys == sorted(keys, reverse=True)
    assert len({each["score"] for each in whole}) > 1
    assert paged == whole


async def test_each_conversation_comes_once_with_its_best_message(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, index: None
) -> None:
    archive = Archive(services)
    homes = [await archive.conversation(ana.id, tags=["film"] * (number % 2)) for number in range(6)]
    for number in range(36):
        await archive.messages(ana.id, homes[number % 6], "mocha " * (number % 7 + 1) + "words " * (number % 4))
    whole = await results(as_ana, q="mocha", match="text", limit=100)
    best: dict[str, str] = {}
    for each in whole:
        best.setdefault(each["conversation"]["id"], each["message"]["id"])

    grouped = await results(as_ana, q="mocha", match="text", group="conversation", limit=2)
    tagged = await results(as_ana, q="mocha", match="text", group="conversation", tag="film", limit=1)

    assert [each["message"]["id"] for each in grouped] == list(best.values())
    assert [each["hits"] for each in grouped] == [6] * 6
    assert [each["conversation"]["id"] for each in tagged] == [
        id for id in best if id in {str(home) for home in homes[1::2]}
    ]


async def test_words_are_marked_also_where_another_form_was_asked_for(
    as_ana: httpx.AsyncClient, names: dict[str, str]
) -> None:
    marks = {
        names[item["message"]["id"]]: marked(item, CONTENTS[names[item["message"]["id"]]])
        for asked in ("runs", "coffees")
        for item in (await search(as_ana, q=asked, match="text"))["items"]
    }

    assert marks == {
        "running": ["running"],
        "runs": ["runs", "runs", "runners"],
        "phrase": ["coffee"],
        "scattered": ["coffee"],
    }


async def test_a_match_whose_word_cannot_be_marked_shows_its_beginning(
    as_ana: httpx.AsyncClient, names: dict[str, str]
) -> None:
    [item] = (await search(as_ana, q="naive", match="text"))["items"]

    assert (item["snippet"]["start"], item["snippet"]["ranges"]) == (0, [])
    assert item["snippet"]["text"] == CONTENTS["walk"]


async def test_case_and_filters_count(as_ana: httpx.AsyncClient, as_analyst: httpx.AsyncClient, names: Any) -> None:
    assert await found(as_ana, q="WALK", match="text", case_sensitive="true") == []
    assert len(await found(as_ana, q="WALK", match="text")) == 1
    assert await found(as_ana, q="walk", match="text", role="assistant") == []
    assert len(await found(as_analyst, q="walk", match="text")) == 2
    [item] = await results(as_ana, q="walk", match="text", tag="film")
    home = item["conversation"]["id"]
    grouped = await results(as_ana, q="hot coffee", match="text", group="conversation", conversation_id=home)
    assert [each["hits"] for each in grouped] == [2]


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"q": "-walk"}, ["query.q"]),
        ({"q": '-"hot coffee" !'}, ["query.q"]),
        ({"q": ""}, ["query.q"]),
        ({"q": "x" * 201}, ["query.q"]),
        ({"q": "a\0b"}, ["query.q"]),
        ({"q": "walk", "sort": "created_at"}, ["query.sort"]),
        ({"q": "walk", "before": "x"}, ["query.before"]),
    ],
)
async def test_what_the_index_cannot_do_is_refused(
    as_ana: httpx.AsyncClient, names: Any, asked: dict[str, str], fields: list[str]
) -> None:
    response = await as_ana.get("/api/search", params={"match": "text", **asked})

    assert fields_at_fault(response) == fields


async def test_without_the_index_the_answer_says_what_to_do(as_ana: httpx.AsyncClient) -> None:
    response = await as_ana.get("/api/search", params={"match": "text", "q": "walk"})

    assert response.status_code == 503
    assert "VERBATIM_TEXT_SEARCH" in response.json()["detail"]


async def test_another_language_replaces_the_index_and_none_drops_it(services: Services) -> None:
    async def names() -> set[str]:
        return {name for name in await Message.get_pymongo_collection().index_information() if name.startswith("text_")}

    for language, expected in [
        ("english", {"text_english_v1"}),
        ("english", {"text_english_v1"}),
        ("none", {"text_none_v1"}),
        (None, set()),
        (None, set()),
    ]:
        await text_index.settle(language)
        assert await names() == expected


async def test_an_index_of_the_operators_own_is_dropped_only_for_another(services: Services) -> None:
    collection = Message.get_pymongo_collection()
    await collection.create_index([("content", "text")], name="by_hand")

    await text_index.settle(None)
    assert "by_hand" in await collection.index_information()
    await text_index.settle("none")
    assert "by_hand" not in await collection.index_information()
    await text_index.settle(None)


@pytest.mark.slow
async def test_a_server_makes_the_index_and_one_without_the_setting_drops_it(tmp_path: Path, mongo_uri: str) -> None:
    shared = {"mongo_uri": mongo_uri, "database": f"verbatim_{ObjectId()}"}
    answers = []
    for asked in ("true", "false", "true"):
        async with ServerProcess(tmp_path, text_search=asked, **shared) as server, server.client() as client:
            offers = (await client.get("/capabilities")).json()["text_search"]
            response = await client.get("/api/search", params={"q": "walk", "match": "text"})
            answers.append((offers, response.status_code))

    assert answers == [(True, 200), (False, 422), (True, 200)]
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as mongo:
        await mongo.drop_database(shared["database"])


@pytest.fixture
async def without_stems(services: Services, settings: Settings) -> AsyncIterator[None]:
    services.search.text_language = "none"
    await text_index.settle("none")
    yield
    await text_index.settle(None)


async def test_without_stems_whole_words_are_found_and_marked(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, without_stems: None
) -> None:
    archive = Archive(services)
    content = "the run, running on"
    await archive.messages(ana.id, await archive.conversation(ana.id), content)

    [item] = (await search(as_ana, q="run the", match="text"))["items"]

    assert marked(item, content) == ["the", "run"]
    assert await found(as_ana, q="runs", match="text") == []
