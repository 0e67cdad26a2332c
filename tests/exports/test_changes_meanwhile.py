"""Rows that change while they are exported: each of them is in the export once."""

import pytest
from bson import ObjectId

from app.conversations.resource import CONVERSATIONS
from app.conversations.schemas import ConversationCreate
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING
from app.services import Services
from tests.conftest import Person

pytestmark = pytest.mark.mongod


@pytest.mark.parametrize("sort", ["updated_at", "-updated_at", "title", "-title", "created_at", "-created_at"])
@pytest.mark.parametrize("changed", [0, -1])
async def test_a_row_that_moves_in_the_sort_is_exported_once(
    services: Services, ana: Person, sort: str, changed: int
) -> None:
    ids: list[ObjectId] = []
    for number in range(6):
        row = await services.conversations.create(ana.id, ConversationCreate(title=f"title {number}"))
        ids.append(row["_id"])
    listing = parse_listing(CONVERSATIONS, [("sort", sort)], paged=False)

    exported: list[ObjectId] = []
    async for rows in services.conversations.rows.batches(EVERYTHING, listing, size=2):
        exported += [row["_id"] for row in rows]
        title = "zzz" if changed == 0 else "aaa"
        await services.conversations.patch(EVERYTHING, ids[changed], {"title": f"{title} {len(exported)}"}, None)

    assert sorted(exported) == sorted(ids)
