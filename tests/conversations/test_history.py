"""The history that a model is given: newest first, and only what belongs to the exchange."""

from contextlib import aclosing
from contextvars import copy_context

from bson import ObjectId

from app.conversations.model import Message, MessageStatus
from app.conversations.repository import HISTORY_BATCH
from app.services import Services


async def fill(services: Services, statuses: list[MessageStatus]) -> ObjectId:
    id = ObjectId()
    await services.conversations.messages.insert_many(
        [
            Message(conversation_id=id, owner_id=id, seq=seq, role="user", content=f"{seq}", status=status)
            for seq, status in enumerate(statuses, start=1)
        ]
    )
    return id


async def test_it_runs_from_the_newest_to_the_oldest_over_several_batches(services: Services) -> None:
    length = 2 * HISTORY_BATCH + 1
    id = await fill(services, ["complete"] * length)

    rows = [row async for row in services.conversations.messages.history(id, before_seq=length)]

    assert [row["content"] for row in rows] == [str(seq) for seq in range(length - 1, 0, -1)]


async def test_it_leaves_out_what_was_not_said(services: Services) -> None:
    id = await fill(services, ["complete", "failed", "superseded", "interrupted", "cancelled", "streaming"])

    rows = [row async for row in services.conversations.messages.history(id, before_seq=9)]

    assert [row["content"] for row in rows] == ["5", "4", "1"]


async def test_a_reader_that_stops_early_is_left_without_a_deadline(services: Services) -> None:
    """A turn reads as much as its budget allows and then runs for minutes."""
    id = await fill(services, ["complete"] * 3)
    before = dict(copy_context())

    async with aclosing(services.conversations.messages.history(id, before_seq=9)) as rows:
        async for row in rows:
            assert row["content"] == "3"
            assert dict(copy_context()) == before
            break

    assert dict(copy_context()) == before
