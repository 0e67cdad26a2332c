"""Every order that a list offers is an index, for one owner as for everybody; no filter reads a collection from end to
end or sorts it in memory. Asked of the database itself, about the queries that the repositories send."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.auth.model import ApiKey
from app.auth.resource import KEYS
from app.conversations.model import Conversation, Message
from app.conversations.resource import CONVERSATIONS, MESSAGES, TRANSCRIPT
from app.kit.clock import now
from app.kit.documents import StoredDocument
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING, Repository, Scope
from app.kit.resource import Column, Resource
from app.services import Services
from app.users.model import Profile as UserProfile
from app.users.model import User
from app.users.resource import USERS
from tests.conversations.profiling import Profile, profiled

pytestmark = pytest.mark.mongod

ROWS = 1200
OWNERS = [ObjectId() for _ in range(3)]
CONVERSATION_IDS = [ObjectId() for _ in range(12)]
START = now() - timedelta(days=1)
LIMIT = 10
MOST_KEYS = 5 * LIMIT
"""Keys that one page may read: its rows, and what the bounds of two ranges and ties add."""


def at(number: int) -> datetime:
    """Instants with ties, in no order."""
    return START + timedelta(seconds=number * 7 % (ROWS // 2))


def user(number: int) -> User:
    return User(
        email=f"{number * 7 % ROWS:05}@example.com",
        name=f"name {number % 50}",
        disabled=number % 2 == 1,
        profile=UserProfile(birth_date="2000-01-31", age=number % 90, phone="1", locale="zh", time_zone="UTC"),
        created_at=at(number),
        updated_at=at(number + 1),
    )


def key(number: int) -> ApiKey:
    owner = OWNERS[number % len(OWNERS)]
    return ApiKey(user_id=owner, name=f"{number % 9}", prefix="p", hash=str(number), created_at=at(number))


def conversation(number: int) -> Conversation:
    return Conversation(
        owner_id=OWNERS[number % len(OWNERS)],
        title=f"title {number % 50}" if number % 3 else "",
        model="echo",
        tags=[f"tag {number % 9}"],
        status="archived" if number % 9 == 0 else "active",
        message_count=number % 20,
        last_message_at=at(number) if number % 4 else None,
        source_id=f"source:{number}" if number % 2 else None,
        created_at=at(number),
        updated_at=at(number + 1),
    )


def message(number: int) -> Message:
    place = number % len(CONVERSATION_IDS)
    return Message(
        conversation_id=CONVERSATION_IDS[place],
        owner_id=OWNERS[place % len(OWNERS)],
        seq=number // len(CONVERSATION_IDS) + 1,
        role="user",
        content="words",
        turn_id=ObjectId(),
        created_at=at(number),
    )


@dataclass(frozen=True)
class List:
    """A list of the API: its table, where its rows come from, and what its route adds to the filter."""

    resource: Resource
    rows_of: Callable[[Services], Repository[Any]]
    row: Callable[[int], StoredDocument]
    condition: Mapping[str, Any]

    async def fill(self, services: Services) -> Repository[Any]:
        rows = self.rows_of(services)
        await rows.collection.insert_many([self.row(number).to_row() for number in range(ROWS)])
        return rows

    def scopes(self) -> list[Scope]:
        return [EVERYTHING, Scope({self.resource.owner_path: OWNERS[0]})]


LISTS = {
    "users": List(USERS, lambda services: services.users.rows, user, {}),
    "keys": List(KEYS, lambda services: services.keys.rows, key, {}),
    "conversations": List(CONVERSATIONS, lambda services: services.conversations.rows, conversation, {}),
    "messages": List(MESSAGES, lambda services: services.conversations.messages, message, {}),
    "transcript": List(
        TRANSCRIPT,
        lambda services: services.conversations.messages,
        message,
        {"conversation_id": CONVERSATION_IDS[0]},
    ),
}
every_list = pytest.mark.parametrize("each", LISTS.values(), ids=LISTS)


async def query(profile: Profile, rows: Repository[Any]) -> dict[str, Any]:
    """The only query since the profile was read last."""
    [entry] = [entry for entry in await profile.read(rows.collection.name) if entry["op"] == "query"]
    return entry


def sorts_in_memory(entry: dict[str, Any]) -> bool:
    """Whether the query sorted; one row is no sort."""
    return bool(entry.get("hasSortStage")) and int(entry["docsExamined"]) > 1


@every_list
async def test_every_order_is_an_index_at_the_first_page_and_at_a_deep_one(services: Services, each: List) -> None:
    rows = await each.fill(services)
    seen = 0
    async with profiled(services.database) as profile:
        for scope in each.scopes():
            for sort in (sign + column.name for column in each.resource.sortable for sign in ("", "-")):
                many = parse_listing(each.resource, [("sort", sort), ("limit", "60")])
                following = (await rows.page(scope, many, each.condition)).next
                await profile.read()
                for page in [[], [("after", following)]] if following else [[]]:
                    listing = parse_listing(each.resource, [("sort", sort), ("limit", str(LIMIT)), *page])
                    found = await rows.page(scope, listing, each.condition)
                    entry = await query(profile, rows)
                    assert "COLLSCAN" not in entry["planSummary"], (sort, scope)
                    assert not sorts_in_memory(entry), (sort, scope, entry["planSummary"])
                    assert entry["keysExamined"] <= MOST_KEYS, (sort, scope, page, entry["keysExamined"])
                    seen += len(found.rows)
    assert seen >= 2 * LIMIT * len(each.resource.sortable)


@every_list
async def test_no_filter_scans_a_collection_or_sorts_more_than_it_finds(services: Services, each: List) -> None:
    rows = await each.fill(services)
    sample = each.row(0).to_row()
    async with profiled(services.database) as profile:
        for scope in each.scopes():
            for column in (column for column in each.resource.columns if column.filterable):
                text = as_parameter(column, value_of(sample, column))
                listing = parse_listing(each.resource, [(column.name, text), ("limit", str(LIMIT))])
                await rows.page(scope, listing, each.condition)
                entry = await query(profile, rows)
                assert "COLLSCAN" not in entry["planSummary"], (column.name, scope)
                if sorts_in_memory(entry):  # then only over what an index of that very column has found
                    assert f"{column.path}:" in entry["planSummary"], (column.name, scope, entry["planSummary"])
                    condition = scope.where(*listing.conditions, each.condition)
                    assert entry["docsExamined"] <= await rows.collection.count_documents(condition) + 1


def value_of(row: Mapping[str, Any], column: Column) -> Any:
    value: Any = row
    for segment in column.path.split("."):
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value


def as_parameter(column: Column, value: Any) -> str:
    """A stored value as a client writes it; any of its kind where none is stored."""
    if isinstance(value, list):
        value = value[0]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None:
        return column.choices[0] if column.choices else {"instant": "2026-01-31", "id": "0" * 24}.get(column.kind, "7")
    return str(value).lower() if isinstance(value, bool) else str(value)


async def test_the_messages_of_one_conversation_cost_no_more_than_all_of_them(services: Services) -> None:
    rows = await LISTS["messages"].fill(services)
    in_conversation = ROWS // len(CONVERSATION_IDS)
    async with profiled(services.database) as profile:
        for scope in LISTS["messages"].scopes():
            listing = parse_listing(MESSAGES, [("conversation_id", str(CONVERSATION_IDS[0]))])
            found = await rows.page(scope, listing)
            entry = await query(profile, rows)
            assert len(found.rows) == 20
            assert entry["docsExamined"] <= in_conversation


async def test_source_ids_are_looked_up_one_by_one(services: Services) -> None:
    """An import asks for each batch, so this must not read all that the owner has."""
    rows = await LISTS["conversations"].fill(services)
    wanted = [f"source:{number}" for number in range(20)]
    async with profiled(services.database) as profile:
        known = await services.conversations.rows.known_sources(OWNERS[0], wanted)
        entry = await query(profile, rows)

    assert known == {"source:3", "source:9", "source:15"}
    assert entry["docsExamined"] == len(known)
    assert entry["keysExamined"] <= 2 * len(wanted)
