"""What is measured on: conversations with 100 messages each, of about 250 characters, English and Chinese."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from app.conversations.model import Conversation, Message
from app.database import Database

CONVERSATIONS = 1000
MESSAGES_EACH = 100
_WORDS = [
    *("please", "order", "coffee", "large", "small", "with", "oat", "milk", "and", "two", "sugars", "for", "here"),
    *("你好", "请问", "这部", "电影", "怎么样", "很好看", "推荐", "给", "你", "音乐", "旅行", "周末"),
]


async def seed(database: Database, owner_id: ObjectId, count: int = CONVERSATIONS) -> list[ObjectId]:
    """Store them; answers the ids of the conversations."""
    words = random.Random(7)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    conversations = [_conversation(owner_id, number, start) for number in range(count)]
    collections = database.client[database.name]
    await collections.conversations.insert_many(conversations)
    for number, conversation in enumerate(conversations):
        await collections.messages.insert_many(
            [_message(conversation, seq, start + timedelta(seconds=number * 200 + seq), words) for seq in range(1, 101)]
        )
    return [conversation["_id"] for conversation in conversations]


def _conversation(owner_id: ObjectId, number: int, start: datetime) -> dict[str, Any]:
    row = Conversation(
        owner_id=owner_id, title=f"Conversation {number}", last_seq=MESSAGES_EACH, message_count=MESSAGES_EACH
    ).to_row()
    return {**row, "created_at": start, "last_message_at": start}


def _message(conversation: dict[str, Any], seq: int, at: datetime, words: random.Random) -> dict[str, Any]:
    text = " ".join(words.choices(_WORDS, k=50))
    return Message(
        conversation_id=conversation["_id"],
        owner_id=conversation["owner_id"],
        seq=seq,
        role="user" if seq % 2 else "assistant",
        content=f"{seq}: {text}",
        created_at=at,
    ).to_row()
