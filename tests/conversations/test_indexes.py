"""Every order that a list offers is an index, for one owner as for everybody; no filter reads a collection from end to
end or sorts more than the few rows it finds. Asked of the database itself, about the queries that the
repositories send.

The rows: of each column one value is rare (two rows of each owner), another one common.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.auth.model import ApiKey
from app.auth.resource import KEYS
from app.conversations.model import Conversation, Fault, Feedback, Message
from app.conversations.resource import CONVERSATIONS, MESSAGES, TRANSCRIPT
from app.kit.clock import now
from app.kit.documents import StoredDocument
from app.kit.listing import parse_listing
from app.kit.paging import Page
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
MOST_SORTED = 10
MOST_KEYS = 5 * LIMIT
"""Keys that one page may read: its rows, and what the bounds of two ranges and ties add."""


def at(number: int) -> datetime:
    """Instants with ties, in no order."""
    return START + timedelta(seconds=number * 7 % (ROWS // 2))


def is_rare(number: int) -> bool:
    """Two of the rows of each owner."""
    return number % 600 < 3


def user(number: int) -> User:
    rare = is_rare(number)
    return User(
        email=f"{number * 7 % ROWS:05}@example.com",
        name="Rare" if rare else f"name {number % 50}",
        role="analyst" if rare else "user",
        disabled=rare,
        profile=UserProfile(
            birth_date="1900-01-31" if rare else "2000-01-31",
            age=120 if rare else 20 + number % 3,
            phone=f"+{number}",
            locale="zh" if rare else "en",
            time_zone="Pacific/Apia" if rare else "UTC",
        ),
        created_at=at(number),
        updated_at=at(number + 1),
    )


def key(number: int) -> ApiKey:
    name = "rare" if is_rare(number) else "laptop"
    return ApiKey(user_id=OWNERS[number % 3], name=name, prefix="p", hash=str(number), created_at=at(number))


def conversation(number: int) -> Conversation:
    rare = is_rare(number)
    return Conversation(
        owner_id=OWNERS[number % 3],
        title="rare" if rare else f"title {number % 50}" if number % 4 else "",
        model="rare" if rare else "echo",
        tags=["daily", "rare"] if rare else ["daily"],
        status="archived" if rare else "active",
        message_count=number % 20,
        last_message_at=at(number) if number % 5 else None,
        source_id=f"source:{number}" if number % 2 else None,
        created_at=at(number),
        updated_at=at(number + 1),
    )


def message(number: int) -> Message:
    rare, place = is_rare(number), number % len(CONVERSATION_IDS)
    return Message(
        conversation_id=CONVERSATION_IDS[place],
        owner_id=OWNERS[place % 3],
        seq=number // len(CONVERSATION_IDS) + 1,
        role="tool" if rare else "assistant",
        content="words",
        status="failed" if rare else "complete",
        turn_id=ObjectId(),
        model="rare" if rare else "echo",
        provider="rare" if rare else "echo",
        finish_reason="length" if rare else "stop",
        error=Fault(code="rare" if rare else "upstream_timeout", message=""),
        feedback=Feedback(rating="down" if rare else "up"),
        created_at=at(number),
    )


@dataclass(frozen=True)
class List:
    """A list of the API: its table, where its rows come from, and what its route adds to the filter."""

    resource: Resource
    rows_of: Callable[[Services], Repository[Any]]
    row: Callable[[int], StoredDocument]
    condition: Mapping[str, Any]
    read_along: frozenset[str] = frozenset()
    """Filters without an index, whose rows are looked for along the list's order (docs/decisions/indexes.md)."""

    async def fill(self, services: Services) -> Repository[Any]:
        rows = self.rows_of(services)
        await rows.collection.insert_many([self.row(number).to_row() for number in range(ROWS)])
        return rows

    def scopes(self) -> list[Scope]:
        return [EVERYTHING, Scope({self.resource.owner_path: OWNERS[0]})]


LISTS = {
    "users": List(USERS, lambda services: services.users.rows, user, {}),
    "keys": List(KEYS, lambda services: services.keys.rows, key, {}),
    "conversations": List(
        CONVERSATIONS,
        lambda services: services.conversations.rows,
        conversation,
        {},
        read_along=frozenset({"message_count"}),
    ),
    "messages": List(
        MESSAGES, lambda services: services.conversations.messages, message, {}, read_along=frozenset({"seq"})
    ),
    "transcript": List(
        TRANSCRIPT,
        lambda services: services.conversations.messages,
        message,
        {"conversation_id": CONVERSATION_IDS[0]},
        read_along=frozenset(TRANSCRIPT.by_name),
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


@dataclass(frozen=True)
class Reading:
    """Reads pages of a list, each as if it were the first of its kind, and tells what that cost."""

    each: List
    rows: Repository[Any]
    profile: Profile

    async def page(self, scope: Scope, *parameters: tuple[str, str], limit: int = LIMIT) -> tuple[Page, dict[str, Any]]:
        listing = parse_listing(self.each.resource, [*parameters, ("limit", str(limit))])
        await self.rows.collection.database.command("planCacheClear", self.rows.collection.name)
        await self.profile.read()
        found = await self.rows.page(scope, listing, self.each.condition)
        entry = await query(self.profile, self.rows)
        assert "COLLSCAN" not in entry["planSummary"], (parameters, scope)
        return found, entry

    async def count(self, scope: Scope, *parameters: tuple[str, str]) -> int:
        listing = parse_listing(self.each.resource, parameters)
        return await self.rows.collection.count_documents(scope.where(*listing.conditions, self.each.condition))


@asynccontextmanager
async def reading(services: Services, each: List) -> AsyncIterator[Reading]:
    rows = await each.fill(services)
    async with profiled(services.database) as profile:
        yield Reading(each, rows, profile)


def orders(resource: Resource) -> list[str]:
    return [sign + column.name for column in resource.sortable for sign in ("", "-")]


@every_list
async def test_every_order_is_an_index_at_the_first_page_and_deep_in_both_directions(
    services: Services, each: List
) -> None:
    seen = 0
    async with reading(services, each) as read:
        for scope in each.scopes():
            for sort in orders(each.resource):
                middle, _ = await read.page(scope, ("sort", sort), limit=60)
                turns = [("after", middle.next), ("before", middle.next)] if middle.next else []
                for turn in [[], *([(side, cursor or "")] for side, cursor in turns)]:
                    found, entry = await read.page(scope, ("sort", sort), *turn)
                    assert not sorts_in_memory(entry), (sort, scope, turn, entry["planSummary"])
                    assert entry["keysExamined"] <= MOST_KEYS, (sort, scope, turn, entry["keysExamined"])
                    seen += len(found.rows)
    assert seen >= 3 * LIMIT * len(each.resource.sortable)


def filterable(each: List) -> list[Column]:
    return [column for column in each.resource.columns if column.filterable]


@every_list
async def test_a_common_value_is_read_along_the_order_of_the_list(services: Services, each: List) -> None:
    sample = each.row(12).to_row()
    async with reading(services, each) as read:
        for scope in each.scopes():
            for column in filterable(each):
                asked = (column.name, as_parameter(column, value_of(sample, column)))
                matches = await read.count(scope, asked)
                for sort in orders(each.resource):
                    found, entry = await read.page(scope, asked, ("sort", sort))
                    assert len(found.rows) == min(matches, LIMIT)
                    if matches > 10 * LIMIT:
                        assert not sorts_in_memory(entry), (column.name, sort, scope, entry["planSummary"])
                        assert entry["keysExamined"] <= 2 * MOST_KEYS, (column.name, sort, scope, entry["keysExamined"])


@every_list
async def test_the_rows_of_a_rare_value_are_found_by_an_index(services: Services, each: List) -> None:
    """In the usual order they come sorted out of it. In another one the few that are found may be sorted, and so may
    those that share the value of a column which is an order itself."""
    sample = each.row(0).to_row()
    usual = {each.resource.default_sort, each.resource.default_sort.removeprefix("-")}
    async with reading(services, each) as read:
        for scope in each.scopes():
            for column in filterable(each):
                asked = (column.name, as_parameter(column, value_of(sample, column)))
                matches = await read.count(scope, asked)
                for sort in orders(each.resource):
                    found, entry = await read.page(scope, asked, ("sort", sort))
                    about = (column.name, sort, scope, matches, entry["keysExamined"], entry["planSummary"])
                    assert len(found.rows) == min(matches, LIMIT), about
                    if sorts_in_memory(entry):
                        assert sort not in usual or column.sortable or column.name in each.read_along, about
                        assert entry["docsExamined"] <= MOST_SORTED, about
                    if column.name not in each.read_along and matches <= LIMIT:
                        assert entry["keysExamined"] <= 2 * matches + 2, about


@every_list
async def test_every_filter_was_asked_about_a_rare_value(services: Services, each: List) -> None:
    """What the test above rests on."""
    sample = each.row(0).to_row()
    rows = await each.fill(services)
    unasked = set()
    for column in filterable(each):
        listing = parse_listing(each.resource, [(column.name, as_parameter(column, value_of(sample, column)))])
        if await rows.collection.count_documents(EVERYTHING.where(*listing.conditions)) > 10:
            unasked.add(column.name)
    assert unasked <= each.read_along | {"owner_id", "user_id", "conversation_id"}


async def test_a_plan_made_for_a_rare_value_is_given_up_for_a_common_one(services: Services) -> None:
    each, scope, sort = LISTS["conversations"], Scope({"owner_id": OWNERS[0]}), ("sort", "title")
    async with reading(services, each) as read:
        for model in ["rare"] * 5:
            await read.rows.page(scope, parse_listing(CONVERSATIONS, [("model", model), sort]))
        await read.profile.read()
        await read.rows.page(scope, parse_listing(CONVERSATIONS, [("model", "echo"), sort, ("limit", "10")]))
        entry = await query(read.profile, read.rows)
    assert not sorts_in_memory(entry)
    assert entry["docsExamined"] <= 10 * LIMIT


def value_of(row: Mapping[str, Any], column: Column) -> Any:
    value: Any = row
    for segment in column.path.split("."):
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value


def as_parameter(column: Column, value: Any) -> str:
    """A stored value as a client writes it; any of its kind where none is stored."""
    if isinstance(value, list):
        value = value[-1]
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
            await profile.read()
            listing = parse_listing(MESSAGES, [("conversation_id", str(CONVERSATION_IDS[0]))])
            found = await rows.page(scope, listing)
            entry = await query(profile, rows)
            assert len(found.rows) == 20
            assert entry["docsExamined"] <= 21 < in_conversation
            assert not sorts_in_memory(entry)


async def test_a_filter_in_a_transcript_reads_no_more_than_the_transcript(services: Services) -> None:
    each = LISTS["transcript"]
    sample = each.row(0).to_row()
    async with reading(services, each) as read:
        for scope in each.scopes():
            for column in filterable(each):
                asked = (column.name, as_parameter(column, value_of(sample, column)))
                for sort in ("seq", "-seq"):
                    _, entry = await read.page(scope, asked, ("sort", sort))
                    assert entry["docsExamined"] <= ROWS // len(CONVERSATION_IDS), (column.name, entry["planSummary"])


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
