"""Lists over HTTP: filters, order, search, pages, projections and counts, for users, conversations and messages."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from bson import ObjectId

from app.conversations.model import Conversation, Message, TokenUsage
from app.services import Services
from tests.api.calls import fields_at_fault, items, new_conversation, pages
from tests.conftest import Person

LISTS = ["/api/users", "/api/conversations", "/api/messages"]
every_list = pytest.mark.parametrize("path", LISTS)

START = datetime(2026, 1, 1, tzinfo=UTC)
CONVERSATIONS: list[dict[str, Any]] = [
    {"title": "Mocha at noon", "tags": ["coffee", "日常"], "model": "echo", "message_count": 3},
    {"title": "恋恋笔记本", "tags": ["film"], "model": None, "message_count": 0},
    {"title": "a.c (100%) $5 [x] ^y", "tags": [], "model": "gpt:large", "message_count": 3, "status": "archived"},
    {"title": "MOCHA again", "tags": ["coffee"], "model": "echo", "message_count": 12},
    {"title": "abc", "tags": ["Coffee"], "model": None, "message_count": 1, "last_message_at": START},
]
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "Where is the mocha?"},
    {"role": "assistant", "content": "《恋恋笔记本》是一部电影", "model": "echo", "provider": "echo"},
    {"role": "assistant", "content": "Mocha: in the pot", "finish_reason": "stop", "status": "failed"},
    {"role": "user", "content": "line one\nline two", "usage": TokenUsage(total=7)},
]


@pytest.fixture
async def conversations(services: Services, ana: Person) -> list[str]:
    """Ids of Ana's conversations, an hour apart."""
    rows = [
        Conversation(owner_id=ana.id, created_at=START + timedelta(hours=hour), updated_at=START, **fields)
        for hour, fields in enumerate(CONVERSATIONS)
    ]
    await services.conversations.rows.insert_many(rows)
    return [str(row.id) for row in rows]


@pytest.fixture
async def messages(services: Services, ana: Person) -> list[str]:
    """Ids of messages of two of Ana's conversations, all of one instant."""
    homes = [ObjectId(), ObjectId()]
    rows = [
        Message(conversation_id=homes[number % 2], owner_id=ana.id, seq=number + 1, created_at=START, **fields)
        for number, fields in enumerate(MESSAGES)
    ]
    await services.conversations.messages.insert_many(rows)
    return [str(row.id) for row in rows]


async def numbers(client: httpx.AsyncClient, path: str, ids: list[str], query: str) -> list[int]:
    """Which of the rows the list has, by their number, the oldest first."""
    found = await items(client, path, **dict(parse_qsl(query, keep_blank_values=True)), sort="created_at")
    return [ids.index(each["id"]) for each in found]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("title=abc", [4]),
        ("title=ABC", []),
        ("title__in=abc,MOCHA again", [3, 4]),
        ("title__ne=abc", [0, 1, 2, 3]),
        ("title__has=MOCHA", [0, 3]),
        ("title__has=恋笔", [1]),
        ("title__has=a.c", [2]),
        ("title__has=(100%) $5 [x] ^y", [2]),
        ("tags=coffee", [0, 3]),
        ("tags__in=film,日常", [0, 1]),
        ("tags__has=COFF", [0, 3, 4]),
        ("model=gpt:large", [2]),
        ("model__exists=false", [1, 4]),
        ("model__exists=true", [0, 2, 3]),
        ("status=archived", [2]),
        ("status__in=active,archived", [0, 1, 2, 3, 4]),
        ("message_count=3", [0, 2]),
        ("message_count__gt=3", [3]),
        ("message_count__gte=3", [0, 2, 3]),
        ("message_count__lt=1", [1]),
        ("message_count__lte=1", [1, 4]),
        ("message_count__gte=1&message_count__lt=4", [0, 2, 4]),
        ("created_at__gte=2026-01-01T03:00:00Z", [3, 4]),
        ("created_at__lt=2026-01-01T02:00:00%2B01:00", [0]),
        ("created_at__gt=2026-01-01", [1, 2, 3, 4]),
        ("last_message_at__exists=true", [4]),
        ("tags=coffee&message_count__gt=3", [3]),
        ("q=mocha", [0, 3]),
        ("q=MOCHA&case_sensitive=true", [3]),
        ("q=笔记", [1]),
        ("q=a.c", [2]),
        ("q=mo&match=prefix", [0, 3]),
        ("q=again&match=prefix", []),
        ("q=mocha&tags=coffee&message_count=3", [0]),
    ],
)
async def test_conversations_are_found(
    as_ana: httpx.AsyncClient, conversations: list[str], query: str, expected: list[int]
) -> None:
    assert await numbers(as_ana, "/api/conversations", conversations, query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=mocha", [0, 2]),
        ("q=恋恋笔记本", [1]),
        ("q=one\nline", [3]),
        ("content=x", None),
        ("role=assistant", [1, 2]),
        ("role__ne=assistant", [0, 3]),
        ("role=assistant&q=mocha", [2]),
        ("status=failed", [2]),
        ("provider=echo", [1]),
        ("finish_reason__exists=true", [2]),
        ("seq__gte=2&seq__lt=4", [1, 2]),
        ("feedback.rating__exists=true", []),
        ("usage.total=7", None),
    ],
)
async def test_messages_are_found(
    as_ana: httpx.AsyncClient, messages: list[str], query: str, expected: list[int] | None
) -> None:
    if expected is None:  # a column that no filter takes
        response = await as_ana.get(f"/api/messages?{query}")
        assert fields_at_fault(response) == [f"query.{query.partition('=')[0]}"]
        return
    assert await numbers(as_ana, "/api/messages", messages, query) == expected


@pytest.mark.mongod
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=^mocha&match=regex", [0, 3]),
        ("q=^mocha&match=regex&case_sensitive=true", []),
        ("q=^(Mocha|a)\\b&match=regex&case_sensitive=true", [0, 2]),
        ("q=$title&match=regex", []),
        ("q=\\$5&match=regex", [2]),
        ("q=^.{5}$&match=regex", [1]),
    ],
)
async def test_conversations_are_found_by_a_regular_expression(
    as_ana: httpx.AsyncClient, conversations: list[str], query: str, expected: list[int]
) -> None:
    assert await numbers(as_ana, "/api/conversations", conversations, query) == expected


@pytest.mark.mongod
@pytest.mark.parametrize("pattern", ["(", "[z-a]", "a{2,1}", "*", "(*UTF8)a", "\\C"])
@every_list
async def test_a_pattern_the_database_refuses_is_our_error(as_admin: httpx.AsyncClient, path: str, pattern: str) -> None:
    response = await as_admin.get(path, params={"q": pattern, "match": "regex"})

    assert fields_at_fault(response) == ["query.q"]
    assert response.json()["code"] == "invalid_pattern"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("colour=red", ["query.colour"]),
        ("title[$ne]=x", ["query.title[$ne]"]),
        ("$where=1", ["query.$where"]),
        ("metadata.a=x", ["query.metadata.a"]),
        ("owner_id=me", ["query.owner_id"]),
        ("status=gone", ["query.status"]),
        ("message_count=many", ["query.message_count"]),
        ("message_count=9223372036854775808", ["query.message_count"]),
        ("created_at__gte=yesterday", ["query.created_at__gte"]),
        ("title__gte=a", ["query.title__gte"]),
        ("model__exists=maybe", ["query.model__exists"]),
        (f"title__in={','.join('x' * 101)}", ["query.title__in"]),
        (f"q={'x' * 201}", ["query.q"]),
        ("q=", ["query.q"]),
        ("q=a%00b", ["query.q"]),
        ("q=a&match=fuzzy", ["query.match"]),
        ("sort=metadata", ["query.sort"]),
        ("sort=-tags", ["query.sort"]),
        ("limit=0", ["query.limit"]),
        ("limit=1001", ["query.limit"]),
        ("limit=ten", ["query.limit"]),
        ("fields=title,secret", ["query.fields"]),
        ("count=all", ["query.count"]),
        ("title=a&title=b", ["query.title"]),
        ("limit=0&sort=x&colour=red", ["query.colour", "query.limit", "query.sort"]),
    ],
)
async def test_every_parameter_at_fault_is_named(as_ana: httpx.AsyncClient, query: str, fields: list[str]) -> None:
    assert sorted(fields_at_fault(await as_ana.get(f"/api/conversations?{query}"))) == fields


@every_list
@pytest.mark.parametrize("name", ["password_hash", "profile.secret", "hash", "tokens", "active_turn_id", "__class__"])
async def test_what_is_stored_but_not_shown_cannot_be_asked_for(
    as_admin: httpx.AsyncClient, path: str, name: str
) -> None:
    for parameter in ({name: "x"}, {f"{name}__exists": "true"}, {"sort": name}, {"fields": name}):
        assert (await as_admin.get(path, params=parameter)).status_code == 422


@every_list
async def test_anonymous_lists_nothing(anonymous: httpx.AsyncClient, path: str) -> None:
    assert (await anonymous.get(path)).status_code == 401


@every_list
async def test_a_user_lists_only_their_own(
    as_ben: httpx.AsyncClient, ben: Person, ana: Person, conversations: list[str], messages: list[str], path: str
) -> None:
    own = [{"id": str(ben.id)}] if path == "/api/users" else []
    assert [{"id": each["id"]} for each in await items(as_ben, path)] == own
    parameters = {"id" if path == "/api/users" else "owner_id": str(ana.id)}
    assert await items(as_ben, path, **parameters) == []


@every_list
async def test_analysts_and_admins_list_everything(
    as_analyst: httpx.AsyncClient,
    as_admin: httpx.AsyncClient,
    conversations: list[str],
    messages: list[str],
    path: str,
) -> None:
    seen = await items(as_analyst, path)
    assert len(seen) == {"/api/users": 3, "/api/conversations": 5, "/api/messages": 4}[path]
    assert await items(as_admin, path) == seen


@pytest.mark.parametrize("sort", ["title", "-title", "created_at", "-updated_at", "last_message_at", "-last_message_at"])
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
    link = first.headers["link"]
    target, relation = link.split("; ")

    following = await as_ana.get(target.strip("<>"))

    assert relation == 'rel="next"'
    assert dict(parse_qsl(urlsplit(target.strip("<>")).query))["after"] == first.json()["next"]
    assert len(first.json()["items"]) == 3
    assert [each["title"] for each in following.json()["items"]] == ["Mocha at noon"]
    assert following.json()["next"] is None
    assert "link" not in following.headers


async def test_a_cursor_belongs_to_its_list(as_ana: httpx.AsyncClient, conversations: list[str]) -> None:
    cursor = (await as_ana.get("/api/conversations", params={"limit": 1})).json()["next"]
    others = [
        ("/api/conversations", {"sort": "title"}),
        ("/api/conversations", {"tags": "coffee"}),
        ("/api/conversations", {"q": "x"}),
        ("/api/messages", {}),
    ]
    for path, parameters in others:
        refused = await as_ana.get(path, params={**parameters, "after": cursor})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor"), (path, parameters)
    for edited in (cursor[:-1], cursor + "A", cursor.swapcase(), "", "%", "x" * 5000):
        refused = await as_ana.get("/api/conversations", params={"after": edited})
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


async def test_users_are_searched_by_name_and_address(as_admin: httpx.AsyncClient, ana: Person, ben: Person) -> None:
    await as_admin.post("/api/users", json={"email": "li@example.com", "name": "李雷 Ana"})

    assert [each["name"] for each in await items(as_admin, "/api/users", q="ANA", sort="name")] == ["Ana", "李雷 Ana"]
    assert [each["name"] for each in await items(as_admin, "/api/users", q="li@ex")] == ["李雷 Ana"]
    assert [each["name"] for each in await items(as_admin, "/api/users", role="admin")] == ["Admin"]
    assert [each["name"] for each in await items(as_admin, "/api/users", sort="-email", limit=1)] == ["李雷 Ana"]
