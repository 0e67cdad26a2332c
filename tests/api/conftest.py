"""Rows that the tests of lists ask for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.conversations.model import Conversation, Message, TokenUsage
from app.services import Services
from tests.conftest import Person

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
