"""Rows of older shapes, many of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

OWNER = ObjectId()
BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)
_AT_ONCE = 5000


def turn(number: int) -> dict[str, Any]:
    """As the first version stored one: nothing was added up at its end."""
    started = BEGAN + timedelta(seconds=number)
    return {
        "conversation_id": ObjectId(),
        "owner_id": OWNER,
        "assistant_message_id": ObjectId(),
        "answer_seq": 2,
        "idempotency_key": None,
        "state": "completed" if number % 10 else "failed",
        "model": "echo",
        "usage": None,
        "error": None,
        "first_token_at": started + timedelta(milliseconds=250),
        "finished_at": started + timedelta(milliseconds=1500),
        "version": 2,
        "created_at": started,
        "updated_at": started,
    }


def message(number: int) -> dict[str, Any]:
    instant = BEGAN + timedelta(seconds=number)
    return {
        "conversation_id": ObjectId(),
        "owner_id": OWNER,
        "seq": 1,
        "role": "user",
        "content": f"message {number}",
        "status": "complete",
        "version": 1,
        "created_at": instant,
        "updated_at": instant,
    }


def user(number: int) -> dict[str, Any]:
    return {
        "email": f"{number}@example.com",
        "name": f"Name {number}",
        "role": "user",
        "disabled": False,
        "version": 1,
        "created_at": BEGAN,
        "updated_at": BEGAN,
    }


async def store(rows: AsyncDatabase[dict[str, Any]], *, turns: int = 0, messages: int = 0, users: int = 0) -> None:
    """Store rows of the first version."""
    for name, make, count in (("turns", turn, turns), ("messages", message, messages), ("users", user, users)):
        for batch in _batches(count):
            await rows[name].insert_many([make(number) for number in batch])


def _batches(count: int) -> Iterator[range]:
    for first in range(0, count, _AT_ONCE):
        yield range(first, min(count, first + _AT_ONCE))
