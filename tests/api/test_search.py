"""/api/search: what is asked, what is refused, and what nobody may find."""

import httpx
import pytest

from app.services import Services
from tests.api.calls import Json, fields_at_fault, new_conversation, say
from tests.conftest import Person
from tests.conversations.searching import Archive, found, search


async def refused(client: httpx.AsyncClient, **parameters: str) -> Json:
    response = await client.get("/api/search", params=parameters)
    assert response.status_code == 422, response.text
    return dict(response.json())


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({}, ["query.q"]),
        ({"q": ""}, ["query.q"]),
        ({"q": "x" * 201}, ["query.q"]),
        ({"q": "a\0"}, ["query.q"]),
        ({"q": "a", "match": "prefix"}, ["query.match"]),
        ({"q": "a", "match": "text"}, ["query.match"]),
        ({"q": "a", "sort": "title"}, ["query.sort"]),
        ({"q": "a", "group": "owner"}, ["query.group"]),
        ({"q": "a", "limit": "101"}, ["query.limit"]),
        ({"q": "a", "limit": "0"}, ["query.limit"]),
        ({"q": "a", "tag": ""}, ["query.tag"]),
        ({"q": "a", "role": "robot"}, ["query.role"]),
        ({"q": "a", "case_sensitive": "maybe"}, ["query.case_sensitive"]),
        ({"q": "a", "after": "x", "before": "y"}, ["query.before"]),
        ({"q": "a", "sort": "-relevance", "before": "x"}, ["query.before"]),
        ({"q": "a", "group": "conversation", "before": "x"}, ["query.before"]),
        ({"q": "a", "fields": "id"}, ["query.fields"]),
        ({"q": "a", "count": "exact"}, ["query.count"]),
        ({"q": "a", "colour": "red"}, ["query.colour"]),
        ({"match": "prefix", "limit": "x", "created_at__gte": "soon"}, ["query.match", "query.q"]),
    ],
)
async def test_what_cannot_be_asked_is_named(
    as_ana: httpx.AsyncClient, asked: dict[str, str], fields: list[str]
) -> None:
    response = await as_ana.get("/api/search", params=asked)

    named = fields_at_fault(response)
    assert named[: len(fields)] == fields
    if len(fields) > 1:
        assert set(named) == {*fields, "query.limit", "query.created_at__gte"}
    else:
        assert named == fields


@pytest.mark.parametrize("match", ["regex", "text", "glob"])
async def test_all_faults_are_named_together(as_ana: httpx.AsyncClient, match: str) -> None:
    asked = {"q": "x" * 201, "match": match, "colour": "red", "limit": "0", "tag": "", "sort": "title"}
    response = await as_ana.get("/api/search", params=asked)

    wrong = [] if match == "regex" else ["query.match"]
    assert sorted(fields_at_fault(response)) == sorted(
        ["query.q", "query.colour", "query.limit", "query.tag", "query.sort", *wrong]
    )


async def test_a_parameter_given_twice_is_named(as_ana: httpx.AsyncClient) -> None:
    for name in ("q", "tag", "group", "sort"):
        response = await as_ana.get("/api/search", params=[("q", "a"), (name, "a"), (name, "a")])
        assert f"query.{name}" in fields_at_fault(response)


async def test_a_missing_text_index_is_told_with_its_setting(as_ana: httpx.AsyncClient) -> None:
    assert "VERBATIM_TEXT_SEARCH" in (await refused(as_ana, q="a", match="text"))["detail"]


@pytest.mark.parametrize("after", ["x", "", "AAAA", "é"])
async def test_a_cursor_that_is_none_is_refused(as_ana: httpx.AsyncClient, after: str) -> None:
    for more in ({}, {"sort": "-relevance"}, {"group": "conversation"}):
        assert (await refused(as_ana, q="a", after=after, **more))["code"] == "invalid_cursor"


@pytest.fixture
async def archive(services: Services) -> Archive:
    return Archive(services)


@pytest.mark.mongod
async def test_a_cursor_belongs_to_its_search(archive: Archive, as_ana: httpx.AsyncClient, ana: Person) -> None:
    home = await archive.conversation(ana.id, tags=["film"])
    other = await archive.conversation(ana.id, tags=["film"])
    await archive.messages(ana.id, home, "mocha", "mocha")
    await archive.messages(ana.id, other, "mocha", "mocha")
    searches = [
        {"q": "mocha"},
        {"q": "moch"},
        {"q": "mocha", "match": "regex"},
        {"q": "mocha", "case_sensitive": "true"},
        {"q": "mocha", "sort": "created_at"},
        {"q": "mocha", "sort": "-relevance"},
        {"q": "mocha", "group": "conversation"},
        {"q": "mocha", "group": "conversation", "sort": "-relevance"},
        {"q": "mocha", "tag": "film"},
        {"q": "mocha", "role": "user"},
    ]
    cursors = [(await search(as_ana, **asked, limit=1))["next"] for asked in searches]
    listed = (await as_ana.get("/api/messages", params={"q": "mocha", "limit": 1})).json()["next"]

    for asked in searches:
        for owner, cursor in zip(searches, cursors, strict=True):
            if owner == asked:
                assert (await search(as_ana, **asked, after=cursor))["items"]
            else:
                assert (await refused(as_ana, **asked, after=cursor))["code"] == "invalid_cursor"
        assert (await refused(as_ana, **asked, after=listed))["code"] == "invalid_cursor"


@pytest.mark.mongod
async def test_a_result_holds_the_message_without_its_words_and_the_conversation(as_ana: httpx.AsyncClient) -> None:
    conversation = await new_conversation(as_ana, title="Morning", tags=["coffee"])
    message = await say(as_ana, conversation, "Where is the mocha?", metadata={"a": "1"})

    response = await as_ana.get("/api/search", params={"q": "MOCHA"})

    long = {"content", "reasoning", "tool_calls"}
    assert response.json() == {
        "items": [
            {
                "message": {name: value for name, value in message.items() if name not in long},
                "conversation": {"id": conversation["id"], "title": "Morning", "tags": ["coffee"]},
                "snippet": {"text": "Where is the mocha?", "start": 0, "ranges": [[13, 18]], "length": 19},
            }
        ],
        "next": None,
        "prev": None,
    }


@pytest.mark.mongod
async def test_links_turn_the_page(archive: Archive, as_ana: httpx.AsyncClient, ana: Person) -> None:
    await archive.messages(ana.id, await archive.conversation(ana.id), *["mocha"] * 5)
    first = await as_ana.get("/api/search", params={"q": "mocha", "limit": 2})

    second = await as_ana.get(first.links["next"]["url"])

    assert len(second.json()["items"]) == 2
    assert (await as_ana.get(second.links["prev"]["url"])).json()["items"] == first.json()["items"]


@pytest.mark.mongod
async def test_nobody_finds_what_is_anothers(
    archive: Archive,
    as_ana: httpx.AsyncClient,
    as_ben: httpx.AsyncClient,
    as_analyst: httpx.AsyncClient,
    ana: Person,
    ben: Person,
) -> None:
    hers = await archive.conversation(ana.id, title="Ana's", tags=["film"])
    his = await archive.conversation(ben.id, title="Ben's", tags=["film"])
    anas = await archive.messages(ana.id, hers, "secret mocha")
    bens = await archive.messages(ben.id, his, "secret mocha")

    for more in (
        {},
        {"sort": "-relevance"},
        {"group": "conversation"},
        {"tag": "film"},
        {"match": "regex"},
        {"owner_id__in": f"{ana.id},{ben.id}"},
    ):
        assert await found(as_ana, q="secret", **more) == anas
        assert await found(as_ben, q="secret", **more) == bens
        assert set(await found(as_analyst, q="secret", **more)) == {*anas, *bens}
    for more in ({"owner_id": str(ana.id)}, {"conversation_id": str(hers)}, {"id": anas[0]}):
        assert await found(as_ben, q="secret", **more) == []


@pytest.mark.mongod
async def test_what_is_deleted_is_not_found_until_it_is_restored(as_ana: httpx.AsyncClient) -> None:
    kept, gone = await new_conversation(as_ana), await new_conversation(as_ana, tags=["film"])
    first, second = await say(as_ana, kept, "mocha"), await say(as_ana, gone, "mocha")
    path = f"/api/conversations/{gone['id']}"
    assert set(await found(as_ana, q="mocha")) == {first["id"], second["id"]}

    assert (await as_ana.delete(path)).status_code == 204
    for more in ({}, {"sort": "-relevance"}, {"group": "conversation"}):
        assert await found(as_ana, q="mocha", **more) == [first["id"]]
    assert await found(as_ana, q="mocha", tag="film") == []

    assert (await as_ana.post(f"{path}/restore")).status_code == 200
    assert await found(as_ana, q="mocha", tag="film") == [second["id"]]


@pytest.mark.mongod
async def test_a_conversation_that_is_being_deleted_is_not_found(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    """Its older messages are hidden behind the transaction that deletes it."""
    home = await archive.conversation(ana.id, status="deleted")
    await archive.messages(ana.id, home, "mocha")

    for more in ({}, {"sort": "-relevance"}, {"group": "conversation"}):
        assert await found(as_ana, q="mocha", **more) == []


@pytest.mark.mongod
async def test_archived_conversations_are_found(archive: Archive, as_ana: httpx.AsyncClient, ana: Person) -> None:
    home = await archive.conversation(ana.id, status="archived")

    assert await archive.messages(ana.id, home, "mocha") == await found(as_ana, q="mocha")


@pytest.mark.mongod
@pytest.mark.parametrize(
    "hostile",
    [
        "$where",
        "$content",
        '{"$gt": ""}',
        "\\",
        "(",
        "[",
        "*",
        "(?:",
        "'; drop",
        "%",
        "\ud7ff",
        "\u202e",
        "a.b",
        "$$ROOT",
    ],
)
async def test_a_literal_is_nothing_but_itself(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, hostile: str
) -> None:
    home = await archive.conversation(ana.id)
    [id] = await archive.messages(ana.id, home, f"before {hostile} behind")
    await archive.messages(ana.id, home, "axb content other")

    for sort in ("-created_at", "-relevance"):
        page = await search(as_ana, q=hostile, sort=sort)
        assert [each["message"]["id"] for each in page["items"]] == [id]
        assert page["items"][0]["snippet"]["ranges"] == [[7, 7 + len(hostile)]]


@pytest.mark.mongod
@pytest.mark.parametrize(
    ("pattern", "codes"),
    [
        ("(", {"invalid_pattern"}),
        ("[a", {"invalid_pattern"}),
        ("(*ANYCRLF)a", {"invalid_pattern"}),
        ("a\\Cb", {"invalid_pattern"}),
        ("(a+)+$", {"query_too_expensive", "partial"}),
        ("(a|aa)+$", {"query_too_expensive", "partial"}),
        ("(.*a){20}", {"query_too_expensive", "partial"}),
    ],
)
async def test_a_hostile_pattern_is_refused_or_ends(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, pattern: str, codes: set[str]
) -> None:
    await archive.messages(ana.id, await archive.conversation(ana.id), "a" * 3000 + "!")

    for more in ({}, {"sort": "-relevance"}, {"group": "conversation"}):
        response = await as_ana.get("/api/search", params={"q": pattern, "match": "regex", **more})
        body = response.json()
        assert (body["code"] if response.status_code == 422 else "partial") in codes
        if response.status_code == 422:
            assert fields_at_fault(response) == ["query.q"] if body["code"] == "invalid_pattern" else True
        else:
            assert response.status_code == 200
