"""What happened in a room of late: rendered once, read by each follower at its own pace."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from bson import ObjectId

from app.conversations.resource import MESSAGES
from app.kit.repository import Row
from app.kit.responses import to_json

MAX_ENTRIES = 512
MAX_BYTES = 4 * 1024 * 1024
"""What a room keeps for slow followers; who falls behind that reads the database instead."""

Kind = Literal["message", "message.updated", "presence"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to followers, as it is sent. `seq`: of a stored message, 0 otherwise; `turn_id`: of an answer."""

    kind: Kind
    text: str
    seq: int = 0
    turn_id: ObjectId | None = None
    is_streaming: bool = False


def message_entry(kind: Literal["message", "message.updated"], row: Row) -> Entry:
    """That a message was appended, or that it has changed."""
    text = _text(kind, row["conversation_id"], {"message": MESSAGES.render(row)})
    turn_id = row.get("turn_id") if row["role"] == "assistant" else None
    return Entry(kind, text, row["seq"], turn_id, row["status"] == "streaming")


def presence_entry(conversation_id: ObjectId, users: Sequence[Mapping[str, Any]]) -> Entry:
    """Who is there now."""
    return Entry("presence", _text("presence", conversation_id, {"users": users}))


def _text(kind: Kind, conversation_id: ObjectId, members: Mapping[str, Any]) -> str:
    return to_json({"type": kind, "conversation_id": conversation_id, **members}).decode()


class Journal:
    """The newest entries, numbered from 0 on; older ones are forgotten."""

    def __init__(self) -> None:
        self.first = 0
        self._entries: deque[Entry] = deque()
        self._characters = 0

    @property
    def end(self) -> int:
        """The number that the next entry gets."""
        return self.first + len(self._entries)

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._characters += len(entry.text)
        while len(self._entries) > MAX_ENTRIES or (self._characters > MAX_BYTES and len(self._entries) > 1):
            self._characters -= len(self._entries.popleft().text)
            self.first += 1

    def read(self, position: int) -> Iterator[Entry]:
        """The entries from a number on, which must not be forgotten yet."""
        return islice(self._entries, position - self.first, None)

    def forget(self) -> None:
        """Keep no entry."""
        self.first = self.end
        self._entries.clear()
        self._characters = 0
