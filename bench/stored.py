"""Storing what is searched: conversations of 200 owners over a year, straight into the database, as they would lie."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from bson import ObjectId

from app.auth.model import ApiKey
from app.conversations.model import Conversation, Message
from app.database import Database
from app.kit.security import hash_key
from app.users.model import User
from bench.corpus import Corpus

OWNERS = 200
_BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
_YEAR = timedelta(days=365)
_PACE = timedelta(seconds=20)
_BATCH = 40
"""Conversations that are stored at once: about a thousand messages."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    id: ObjectId
    key: str


@dataclass(frozen=True)
class Stored:
    """The owners, who has most first; the texts of all messages; seconds that storing them took."""

    owners: Sequence[Owner]
    texts: Sequence[str]
    seconds: float

    @property
    def text_bytes(self) -> int:
        """As UTF-8."""
        return sum(len(text.encode()) for text in self.texts)


async def store(
    database: Database, corpus: Corpus, size: int, *, complete: Callable[[Row], None] = lambda _: None
) -> Stored:
    """Store `size` messages. The n-th owner has about 1/n as many as the first, who has a sixth of all.

    `complete` may add to the row of each message before it is stored.
    """
    started = time.perf_counter()
    collections = database.client[database.name]
    owners = await _store_owners(database)
    texts: list[str] = []
    rows = _rows(corpus, size, owners)
    while batch := list(islice(rows, _BATCH)):
        messages = [message for _, each in batch for message in each]
        for message in messages:
            complete(message)
        await collections.conversations.insert_many([conversation for conversation, _ in batch], ordered=False)
        await collections.messages.insert_many(messages, ordered=False)
        texts += (message["content"] for message in messages)
    return Stored(owners, texts, time.perf_counter() - started)


async def _store_owners(database: Database) -> Sequence[Owner]:
    users = [User(email=f"owner{number}@bench.example", name=f"Owner {number}") for number in range(OWNERS)]
    owners = [Owner(user.id, f"bench-key-of-owner-{number:03}-0123456789") for number, user in enumerate(users)]
    keys = [ApiKey(user_id=owner.id, name="bench", prefix="bench", hash=hash_key(owner.key)) for owner in owners]
    collections = database.client[database.name]
    await collections.users.insert_many([user.to_row() for user in users])
    await collections.api_keys.insert_many([key.to_row() for key in keys])
    return owners


def _rows(corpus: Corpus, size: int, owners: Sequence[Owner]) -> Iterator[tuple[Row, Sequence[Row]]]:
    """Conversations with their messages, as they are stored, one after the other in time."""
    dice = random.Random(11)
    shares = [1 / (number + 1) for number in range(len(owners))]
    template = message_template()
    done = 0
    for number, texts in enumerate(corpus.conversations(size)):
        owner = dice.choices(owners, shares)[0]
        start = _BEGIN + _YEAR * (done / size)
        conversation = _conversation(owner.id, f"Conversation {number}", len(texts), start)
        yield (
            conversation,
            [message_row(template, conversation, seq, text, start + _PACE * seq) for seq, text in enumerate(texts, 1)],
        )
        done += len(texts)


def _conversation(owner_id: ObjectId, title: str, count: int, start: datetime) -> Row:
    end = start + _PACE * count
    return Conversation(
        owner_id=owner_id,
        title=title,
        last_seq=count,
        message_count=count,
        created_at=start,
        updated_at=end,
        last_message_at=end,
    ).to_row()


def message_template() -> Row:
    """A stored message, of which `message_row` makes others in a hundredth of the time a model takes."""
    return Message(conversation_id=ObjectId(), owner_id=ObjectId(), seq=1, role="user", content="").to_row()


def message_row(template: Row, conversation: Mapping[str, Any], seq: int, text: str, at: datetime) -> Row:
    """The row that the product would store; questions and answers take turns."""
    return {
        **template,
        "_id": ObjectId(),
        "conversation_id": conversation["_id"],
        "owner_id": conversation["owner_id"],
        "seq": seq,
        "role": "user" if seq % 2 else "assistant",
        "content": text,
        "created_at": at,
        "updated_at": at,
    }
