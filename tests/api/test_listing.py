"""Lists over HTTP: filters, search and refusals, for users, conversations and messages."""

from urllib.parse import parse_qsl

import httpx
import pytest

from tests.api.calls import fields_at_fault, items
from tests.conftest import Person

LISTS = ["/api/users", "/api/conversations", "/api/messages"]
every_list = pytest.mark.parametrize("path", LISTS)


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
        pytest.param("feedback.rating__exists=true", [], marks=pytest.mark.mongod),
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
async def test_a_pattern_the_database_refuses_is_our_error(
    as_admin: httpx.AsyncClient, path: str, pattern: str
) -> None:
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
        ("limit=0&sort=x&status=gone", ["query.limit", "query.sort", "query.status"]),
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


async def test_users_are_searched_by_name_and_address(as_admin: httpx.AsyncClient, ana: Person, ben: Person) -> None:
    await as_admin.post("/api/users", json={"email": "li@example.com", "name": "李雷 Ana"})

    assert [each["name"] for each in await items(as_admin, "/api/users", q="ANA", sort="name")] == ["Ana", "李雷 Ana"]
    assert [each["name"] for each in await items(as_admin, "/api/users", q="li@ex")] == ["李雷 Ana"]
    assert [each["name"] for each in await items(as_admin, "/api/users", role="admin")] == ["Admin"]
    assert [each["name"] for each in await items(as_admin, "/api/users", sort="-email", limit=1)] == ["李雷 Ana"]
