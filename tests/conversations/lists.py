"""The lists of the API and rows to fill them with.

Of each column one value is rare (two rows of each owner), one is common, and one is common with another owner but rare
with the first, as far as the column has so many.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from bson import ObjectId

from app.audit.model import AuditEntry
from app.audit.resource import AUDIT
from app.auth.model import ApiKey
from app.auth.resource import KEYS
from app.conversations.model import Conversation, Fault, Feedback, Message, MessageRole, MessageStatus, TokenUsage
from app.conversations.resource import CONVERSATIONS, MESSAGES, TRANSCRIPT
from app.kit.clock import now
from app.kit.documents import StoredDocument
from app.kit.repository import EVERYTHING, Repository, Scope
from app.kit.resource import Column, Resource
from app.services import Services
from app.turns.model import Turn, TurnState
from app.turns.resource import TURNS
from app.users.model import Profile as UserProfile
from app.users.model import User
from app.users.resource import USERS

ROWS = 1200
OWNERS = [ObjectId() for _ in range(3)]
CONVERSATION_IDS = [ObjectId() for _ in range(12)]
START = now() - timedelta(days=1)
RARE, ELSEWHERE, COMMON = 0, 6, 12
"""Numbers of rows of the first owner with such values."""


def at(number: int) -> datetime:
    """Instants with ties, in no order."""
    return START + timedelta(seconds=number * 7 % (ROWS // 2))


def is_rare(number: int) -> bool:
    """Two of the rows of each owner."""
    return number % 600 < 3


def one_of(number: int, rare: str, elsewhere: str, common: str) -> str:
    """The value of a row: `elsewhere` is the second owner's, and in two rows the first one's."""
    if is_rare(number):
        return rare
    return elsewhere if number % 3 == 1 or number % 600 == ELSEWHERE else common


def user(number: int) -> User:
    rare = is_rare(number)
    return User(
        email=f"{number * 7 % ROWS:05}@example.com",
        name="Rare" if rare else f"name {number % 50}",
        role="analyst" if rare else "user",
        disabled=rare,
        profile=UserProfile(
            birth_date="1900-01-31" if rare else "2000-01-31",
            age=120 if rare else 20 + number % 3,
            phone=f"+{number}",
            locale="zh" if rare else "en",
            time_zone="Pacific/Apia" if rare else "UTC",
        ),
        created_at=at(number),
        updated_at=at(number + 1),
    )


def key(number: int) -> ApiKey:
    name = one_of(number, "rare", "phone", "laptop")
    return ApiKey(user_id=OWNERS[number % 3], name=name, prefix="p", hash=str(number), created_at=at(number))


def conversation(number: int) -> Conversation:
    rare = is_rare(number)
    return Conversation(
        owner_id=OWNERS[number % 3],
        title="rare" if rare else f"title {number % 50}" if number % 4 else "",
        model=one_of(number, "rare", "gpt", "echo"),
        tags=["daily", one_of(number, "rare", "film", "daily")],
        status="archived" if rare else "active",
        message_count=number % 20,
        last_message_at=at(number) if number % 5 else None,
        source_id=f"source:{number}" if number % 2 else None,
        created_at=at(number),
        updated_at=at(number + 1),
    )


def message(number: int) -> Message:
    rare, place = is_rare(number), number % len(CONVERSATION_IDS)
    return Message(
        conversation_id=CONVERSATION_IDS[place],
        owner_id=OWNERS[place % 3],
        seq=number // len(CONVERSATION_IDS) + 1,
        role=cast("MessageRole", one_of(number, "tool", "system", "assistant")),
        content="words",
        status=cast("MessageStatus", one_of(number, "failed", "superseded", "complete")),
        turn_id=ObjectId(),
        model=one_of(number, "rare", "gpt", "echo"),
        provider=one_of(number, "rare", "gpt", "echo"),
        finish_reason=one_of(number, "length", "tool_calls", "stop"),
        error=Fault(code=one_of(number, "rare", "upstream_refused", "upstream_timeout"), message=""),
        feedback=Feedback(rating="down" if rare else "up"),
        created_at=at(number),
    )


def turn(number: int) -> Turn:
    place = number % len(CONVERSATION_IDS)
    return Turn(
        conversation_id=CONVERSATION_IDS[place],
        owner_id=OWNERS[place % 3],
        assistant_message_id=ObjectId(),
        answer_seq=number // len(CONVERSATION_IDS) + 1,
        state=cast("TurnState", one_of(number, "queued", "failed", "completed")),
        model=one_of(number, "rare", "gpt", "echo"),
        served_model=one_of(number, "rare", "gpt", "echo"),
        provider=one_of(number, "rare", "gpt", "echo"),
        usage=TokenUsage(prompt=number % 40, completion=number % 30, total=number % 40 + number % 30),
        error=Fault(code=one_of(number, "rare", "upstream_refused", "upstream_timeout"), message=""),
        total_ms=number * 11 % 500 if number % 5 else None,
        first_token_ms=number % 100,
        created_at=at(number),
    )


def entry(number: int) -> AuditEntry:
    action = one_of(number, "key.deleted", "user.changed", "export.downloaded")
    rare = is_rare(number)
    return AuditEntry(
        actor_kind="user",
        actor_id=OWNERS[number % 3],
        action=action,
        resource=one_of(number, "keys", "users", "exports"),
        target_id=ObjectId(),
        subject_id=ObjectId(f"{number // 5:024x}"),
        address=f"10.0.0.{number % 600}" if rare else f"192.0.2.{number % 3}",
        request_id=f"req_{number}",
        created_at=at(number),
    )


@dataclass(frozen=True)
class List:
    """A list of the API: its table, where its rows come from, and what its route adds to the filter."""

    resource: Resource
    rows_of: Callable[[Services], Repository[Any]]
    row: Callable[[int], StoredDocument]
    condition: Mapping[str, Any]
    read_along: frozenset[str] = frozenset()
    """Filters without an index, whose rows are looked for along the list's order (docs/decisions/indexes.md)."""

    for_admins: bool = False
    """Only admins list it, who see everything."""

    async def fill(self, services: Services) -> Repository[Any]:
        rows = self.rows_of(services)
        await rows.collection.insert_many([self.row(number).to_row() for number in range(ROWS)])
        return rows

    def scopes(self) -> list[Scope]:
        return [EVERYTHING] if self.for_admins else [EVERYTHING, Scope({self.resource.owner_path: OWNERS[0]})]


LISTS = {
    "users": List(USERS, lambda services: services.users.rows, user, {}),
    "keys": List(KEYS, lambda services: services.keys.rows, key, {}),
    "conversations": List(
        CONVERSATIONS,
        lambda services: services.conversations.rows,
        conversation,
        {},
        read_along=frozenset({"message_count"}),
    ),
    "messages": List(
        MESSAGES, lambda services: services.conversations.messages, message, {}, read_along=frozenset({"seq"})
    ),
    "turns": List(
        TURNS,
        lambda services: services.turns.rows,
        turn,
        {},
        read_along=frozenset({"served_model", "usage.total", "cost", "failed_attempts", "first_token_ms"}),
    ),
    "audit": List(AUDIT, lambda services: services.audit, entry, {}, frozenset({"actor_id"}), for_admins=True),
    "transcript": List(
        TRANSCRIPT,
        lambda services: services.conversations.messages,
        message,
        {"conversation_id": CONVERSATION_IDS[0]},
        read_along=frozenset(TRANSCRIPT.by_name),
    ),
}


def value_of(row: Mapping[str, Any], column: Column) -> Any:
    value: Any = row
    for segment in column.path.split("."):
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value


def as_parameter(column: Column, value: Any) -> str:
    """A stored value as a client writes it; any of its kind where none is stored."""
    if isinstance(value, list):
        value = value[-1]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None:
        return column.choices[0] if column.choices else {"instant": "2026-01-31", "id": "0" * 24}.get(column.kind, "7")
    return str(value).lower() if isinstance(value, bool) else str(value)
