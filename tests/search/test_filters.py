"""Patterns are asked of the rows that meet all other conditions, and of no other ones."""

from typing import Any

import pytest
from bson import ObjectId

from app.conversations.repository import MessageRepository
from app.conversations.resource import MESSAGES
from app.kit.listing import parse_listing
from app.kit.repository import Scope
from app.search.index import TextIndex
from tests.search.stored import OWNER, START, build, store

pytestmark = pytest.mark.mongod

BAD = "coffee" + "a" * 3000 + "!"
"""A text that exhausts PCRE with the pattern."""
PATTERN = "coffee(a+)+$"
OTHERS: dict[str, dict[str, Any]] = {
    "of another role": {"role": "assistant"},
    "removed": {"deleted_at": START},
    "of another model": {"model": "other"},
    "of somebody else": {"owner_id": ObjectId()},
}


SCOPES: dict[str, dict[str, Any]] = {
    "plain": {"owner_id": OWNER},
    "of several": {"$and": [{"owner_id": OWNER}, {"conversation_id": {"$ne": None}}]},
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
@pytest.mark.parametrize("is_indexed", [False, True], ids=["waiting", "indexed"])
@pytest.mark.parametrize("other", OTHERS)
async def test_a_text_that_is_not_asked_for_ends_no_search(
    messages: MessageRepository, index: TextIndex, other: str, is_indexed: bool, sort: str, scope: str
) -> None:
    conversation = ObjectId()
    await store(messages, *["coffee, no"] * 30, conversation=conversation, model="one")
    [first] = await store(messages, "coffeea", conversation=conversation, model="one")
    await store(messages, BAD, **{"conversation": conversation, "model": "one", **OTHERS[other]})
    [last] = await store(messages, "coffeeaa", conversation=conversation, model="one")
    if is_indexed:
        await build(index)

    asked = {"q": PATTERN, "match": "regex", "role": "user", "model": "one", "sort": sort, "count": "exact"}
    page = await messages.page(Scope(SCOPES[scope]), parse_listing(MESSAGES, asked.items()))

    assert {row["_id"] for row in page.rows} == {first, last}
    assert (page.partial, page.total) == (False, 2)
