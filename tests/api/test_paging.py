"""Lists over HTTP: order, pages, cursors, projections and counts."""

from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.api.calls import fields_at_fault, items, new_conversation, pages, say
from tests.conftest import Person


@pytest.mark.parametrize(
    "sort", ["title", "-title", "created_at", "-updated_at", "last_message_at", "-last_message_at"]
)
async def test_pages_hold_each_row_once_in_the_lists_order(
    as_ana: httpx.AsyncClient, conversations: list[str], sort: str
) -> None:
    whole = await items(as_ana, "/api/conversations", sort=sort)
    paged = await pages(as_ana, "/api/conversations", sort=sort, limit=2)

    assert [len(page) for page in paged] == [2, 2, 1]
    assert [each for page in paged for each in page] == whole
    assert {each["id"] for each in whole} == set(conversations)
    name = sort.removeprefix("-")
    values = [each[name] or "" for each in whole]
    assert values == sorted(values, reverse=sort.startswith("-"))


async def test_rows_of_one_instant_are_paged_in_a_fixed_order(as_ana: httpx.AsyncClient, messages: list[str]) -> None:
    forwards = await pages(as_ana, "/api/messages", sort="created_at", limit=1)
    backwards = await pages(as_ana, "/api/messages", sort="-created_at", limit=1)

    assert [each["id"] for page in forwards for each in page] == messages
    assert backwards == forwards[::-1]


async def test_a_page_links_to_the_next_one(as_ana: httpx.AsyncClient, conversations: list[str]) -> None:
    first = await as_ana.get("/api/conversations", params={"limit": 3, "q": "a", "fields": "title"})
    target = first.links["next"]["url"]

    following = await as_ana.get(target)

    assert dict(parse_qsl(urlsplit(target).query))["after"] == first.json()["next"]
    assert len(first.json()["items"]) == 3
    assert [each["title"] for each in following.json()["items"]] == ["Mocha at noon"]
    assert following.json()["next"] is None
    assert (set(first.links), set(following.links)) == ({"next"}, {"prev"})


@pytest.mark.parametrize("path", ["/api/conversations", "/api/messages", "/api/users", "/api/keys"])
async def test_links_lead_through_the_list_and_back(
    as_admin: httpx.AsyncClient, ana: Person, ben: Person, conversations: list[str], messages: list[str], path: str
) -> None:
    page = await as_admin.get(path, params={"limit": 2, "fields": "id", "sort": "created_at"})
    forwards = [page.json()]
    while "next" in page.links:
        page = await as_admin.get(page.links["next"]["url"])
        forwards.append(page.json())
    backwards = [page.json()]
    while "prev" in page.links:
        page = await as_admin.get(page.links["prev"]["url"])
        backwards.append(page.json())

    assert len(forwards) > 1
    assert [page["items"] for page in backwards] == [page["items"] for page in forwards[::-1]]
    assert [page["prev"] is None for page in forwards] == [True] + [False] * (len(forwards) - 1)
    assert [page["next"] is None for page in backwards] == [True] + [False] * (len(forwards) - 1)
    assert backwards[-1]["prev"] is None


async def test_a_transcript_is_read_back_from_any_message(as_ana: httpx.AsyncClient) -> None:
    conversation = await new_conversation(as_ana)
    for number in range(7):
        await say(as_ana, conversation, f"{number + 1}")
    path = f"/api/conversations/{conversation['id']}/messages"
    newest = (await as_ana.get(path, params={"sort": "-seq", "limit": 2})).json()
    older = (await as_ana.get(path, params={"sort": "-seq", "limit": 2, "after": newest["next"]})).json()

    back = (await as_ana.get(path, params={"sort": "-seq", "limit": 5, "before": older["prev"]})).json()

    assert [each["seq"] for each in older["items"]] == [5, 4]
    assert back["items"] == newest["items"]
    assert back["prev"] is None


async def test_a_page_before_and_after_a_cursor_is_refused(as_ana: httpx.AsyncClient, conversations: list[str]) -> None:
    cursor = (await as_ana.get("/api/conversations", params={"limit": 1})).json()["next"]

    refused = await as_ana.get("/api/conversations", params={"after": cursor, "before": cursor})

    assert fields_at_fault(refused) == ["query.before"]


async def test_a_cursor_belongs_to_its_list(as_ana: httpx.AsyncClient, conversations: list[str]) -> None:
    cursor = (await as_ana.get("/api/conversations", params={"limit": 1})).json()["next"]
    others = [
        ("/api/conversations", {"sort": "title"}),
        ("/api/conversations", {"tags": "coffee"}),
        ("/api/conversations", {"q": "x"}),
        ("/api/messages", {}),
    ]
    for path, parameters in others:
        for side in ("after", "before"):
            refused = await as_ana.get(path, params={**parameters, side: cursor})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor"), (path, parameters)
    for edited in (cursor[:-1], cursor + "A", cursor.swapcase(), "", "%", "x" * 5000):
        for side in ("after", "before"):
            refused = await as_ana.get("/api/conversations", params={side: edited})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor"), edited
    assert len(await items(as_ana, "/api/conversations", after=cursor, limit=1000, fields="title")) == 4


async def test_a_cursor_shows_nobody_elses_rows(
    as_admin: httpx.AsyncClient, as_ben: httpx.AsyncClient, conversations: list[str]
) -> None:
    mine = await new_conversation(as_ben, title="Ben's")
    cursor = (await as_admin.get("/api/conversations", params={"limit": 1, "sort": "created_at"})).json()["next"]

    seen = await items(as_ben, "/api/conversations", after=cursor, sort="created_at")

    assert [each["id"] for each in seen] == [mine["id"]]


@pytest.mark.parametrize(
    ("path", "fields", "members"),
    [
        ("/api/conversations", "title", {"id", "title"}),
        ("/api/conversations", "id", {"id"}),
        ("/api/conversations", "title,metadata,title", {"id", "title", "metadata"}),
        ("/api/messages", "content,usage.total", {"id", "content", "usage"}),
        ("/api/users", "email,profile.locale", {"id", "email", "profile"}),
    ],
)
async def test_a_projection_answers_the_chosen_members_and_pages_on(
    as_admin: httpx.AsyncClient,
    ben: Person,
    conversations: list[str],
    messages: list[str],
    path: str,
    fields: str,
    members: set[str],
) -> None:
    paged = await pages(as_admin, path, fields=fields, limit=2)

    rows = [each for page in paged for each in page]
    assert {frozenset(each) for each in rows} == {frozenset(members)}
    assert [each["id"] for each in rows] == [each["id"] for each in await items(as_admin, path)]


@pytest.mark.parametrize(("count", "query"), [("exact", {}), ("estimate", {}), ("exact", {"tags": "coffee"})])
async def test_a_total_is_counted_when_it_is_asked_for(
    as_ana: httpx.AsyncClient, conversations: list[str], count: str, query: dict[str, str]
) -> None:
    parameters = {"limit": "1", **query}
    assert "total" not in (await as_ana.get("/api/conversations", params=parameters)).json()

    counted = await as_ana.get("/api/conversations", params={**parameters, "count": count})

    assert counted.json()["total"] == (2 if query else 5)
    second = await as_ana.get(
        "/api/conversations", params={**parameters, "count": count, "after": counted.json()["next"]}
    )
    assert second.json()["total"] == counted.json()["total"]
    back = await as_ana.get(
        "/api/conversations", params={**parameters, "count": count, "before": second.json()["prev"]}
    )
    assert back.json() == counted.json()
