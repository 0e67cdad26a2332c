"""Messages and turns of two people over some weeks, and the summaries asked over HTTP."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.model import Conversation, Fault, Feedback, Message, TokenUsage
from app.kit.repository import Row
from app.services import Services
from app.turns.model import Turn
from tests.conftest import Person

SINCE, UNTIL = datetime(2026, 2, 20, tzinfo=UTC), datetime(2026, 4, 10, tzinfo=UTC)
"""Summer time begins in between, in America on 8 March and in Europe on 29 March."""
MODELS = ("openai:gpt-x", "deepseek:chat", "echo")
STATES = ("completed", "completed", "completed", "failed", "cancelled", "interrupted", "running")


def some_turn(dice: random.Random, owner_id: ObjectId, conversation_id: ObjectId) -> Turn:
    state, model = dice.choice(STATES), dice.choice(MODELS)
    is_over = state != "running"
    created_at = SINCE + timedelta(milliseconds=dice.randrange(int((UNTIL - SINCE).total_seconds() * 1000)))
    prompt, completion = dice.randrange(1000), dice.randrange(500)
    usage = TokenUsage(prompt=prompt, completion=completion, total=prompt + completion)
    turn: Turn = Turn.model_validate(
        {
            "conversation_id": conversation_id,
            "owner_id": owner_id,
            "assistant_message_id": ObjectId(),
            "answer_seq": 2,
            "state": state,
            "model": model,
            "served_model": model if is_over else None,
            "provider": model.partition(":")[0] if is_over else None,
            "usage": usage.model_dump() if state == "completed" else None,
            "cost": dice.randrange(1000) / 1024 if model == MODELS[0] and state == "completed" else None,
            "error": Fault(code="upstream_timeout", message="").model_dump() if state == "failed" else None,
            "first_token_ms": dice.randrange(1500) if state == "completed" else None,
            "total_ms": int(dice.lognormvariate(8, 2)) if is_over else None,
            "created_at": created_at,
        }
    )
    return turn


def some_message(dice: random.Random, owner_id: ObjectId, conversation_id: ObjectId, seq: int) -> Message:
    is_answer = seq % 2 == 0
    rating = dice.choice(["up", "up", "down", None, None])
    message: Message = Message.model_validate(
        {
            "conversation_id": conversation_id,
            "owner_id": owner_id,
            "seq": seq,
            "role": "assistant" if is_answer else "user",
            "content": "words",
            "status": dice.choice(["complete", "complete", "superseded"]),
            "model": dice.choice(MODELS) if is_answer else None,
            "provider": "local" if is_answer else None,
            "feedback": Feedback(rating=rating).model_dump() if is_answer and rating else None,
            "deleted_at": UNTIL if dice.random() < 0.1 else None,
            "created_at": SINCE + timedelta(seconds=dice.randrange(int((UNTIL - SINCE).total_seconds()))),
        }
    )
    return message


class Stored:
    """What there is, as it is stored."""

    def __init__(self, turns: Sequence[Row], messages: Sequence[Row]) -> None:
        self.turns = turns
        self.messages = [row for row in messages if row["deleted_at"] is None]
        """Those that are not hidden."""


@pytest.fixture
async def stored(services: Services, ana: Person, ben: Person) -> Stored:
    dice = random.Random(5)
    turns: list[Row] = []
    messages: list[Row] = []
    for number in range(12):
        owner = ana if number % 3 else ben
        conversation = Conversation(owner_id=owner.id, created_at=SINCE)
        turns.extend(some_turn(dice, owner.id, conversation.id).to_row() for _ in range(25))
        messages.extend(some_message(dice, owner.id, conversation.id, seq).to_row() for seq in range(1, 41))
    await services.turns.rows.collection.insert_many(turns)
    await services.conversations.messages.collection.insert_many(messages)
    return Stored(turns, messages)


ALL = {"since": "2026-01-01", "until": "2027-01-01"}


async def ask(client: httpx.AsyncClient, path: str, **parameters: str) -> dict[str, Any]:
    response = await client.get(f"/api/stats/{path}", params={**ALL, **parameters})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def items(client: httpx.AsyncClient, path: str, **parameters: str) -> list[dict[str, Any]]:
    return list((await ask(client, path, **parameters))["items"])
