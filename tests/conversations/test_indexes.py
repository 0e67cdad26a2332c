"""Every order that a list offers is an index, for one owner as for everybody; no filter reads a collection from end to
end or sorts more than the few rows it finds. Asked of the database itself, about the queries that the repositories
send.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from beanie import Document

from app.audit.model import AuditEntry
from app.auth.model import ApiKey
from app.conversations.model import Conversation, Message
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.conversations.share_model import Revocation, ShareLink
from app.imports.model import ImportJob
from app.imports.repository import ImportedConversations
from app.kit.listing import parse_listing
from app.kit.paging import Page
from app.kit.repository import EVERYTHING, Repository, Scope
from app.kit.resource import Column, Resource
from app.limits.model import RateCount, Spending
from app.privacy.model import Erasure, Hold, RetentionPolicy
from app.services import Services
from app.turns.model import Turn
from app.users.model import User
from app.webhooks.model import Delivery, Hook, Webhook
from tests.conversations.lists import (
    COMMON,
    CONVERSATION_IDS,
    ELSEWHERE,
    LISTS,
    OWNERS,
    RARE,
    ROWS,
    List,
    as_parameter,
    value_of,
)
from tests.conversations.profiling import Profile, profiled

pytestmark = pytest.mark.mongod

LIMIT = 10
MOST_SORTED = 10
MOST_KEYS = 5 * LIMIT
"""Keys that one page may read: its rows, and what the bounds of two ranges and ties add."""
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
        return await self.rows.collection.count_documents(scope.where(*listing.all_conditions, self.each.condition))


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
    sample = each.row(COMMON).to_row()
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
    sample = each.row(RARE).to_row()
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
                        # Of one conversation all that it has may be sorted.
                        most = ROWS // len(CONVERSATION_IDS) if column.name == "conversation_id" else MOST_SORTED
                        assert entry["docsExamined"] <= most, about
                    if column.name not in each.read_along and matches <= LIMIT:
                        assert entry["keysExamined"] <= 2 * matches + 2, about


@every_list
async def test_what_is_rare_with_its_owner_is_found_though_others_have_much_of_it(
    services: Services, each: List
) -> None:
    sample, scope = each.row(ELSEWHERE).to_row(), each.scopes()[-1]
    async with reading(services, each) as read:
        for column in filterable(each):
            asked = (column.name, as_parameter(column, value_of(sample, column)))
            matches = await read.count(scope, asked)
            for sort in orders(each.resource):
                _, entry = await read.page(scope, asked, ("sort", sort))
                if column.name not in each.read_along and matches <= LIMIT:
                    assert entry["keysExamined"] <= 2 * matches + 2, (column.name, sort, entry["planSummary"])


@every_list
async def test_every_filter_was_asked_about_a_rare_value(services: Services, each: List) -> None:
    """What the test above rests on."""
    sample = each.row(RARE).to_row()
    rows = await each.fill(services)
    unasked = set()
    for column in filterable(each):
        listing = parse_listing(each.resource, [(column.name, as_parameter(column, value_of(sample, column)))])
        if await rows.collection.count_documents(EVERYTHING.where(*listing.all_conditions)) > 10:
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
    sample = each.row(RARE).to_row()
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
        known = await ImportedConversations(services.database.cursors).known_sources(OWNERS[0], wanted)
        entry = await query(profile, rows)

    assert known == {"source:3", "source:9", "source:15"}
    assert entry["docsExamined"] == len(known)
    assert entry["keysExamined"] <= 2 * len(wanted)


DESCRIBED = (
    *(User, ApiKey, Conversation, Message, ShareLink, Revocation, RateCount, Spending, Turn, ImportJob, Webhook),
    *(Delivery, Hook, AuditEntry, Hold, Erasure, RetentionPolicy),
)


@pytest.mark.parametrize("document", DESCRIBED)
def test_the_page_about_indexes_names_each_of_them(document: type[Document]) -> None:
    page = (Path(__file__).parents[2] / "docs/decisions/indexes.md").read_text()

    for index in cast("Any", document).Settings.indexes:
        name = index.document["name"]
        assert f"`{name}`" in page, name
