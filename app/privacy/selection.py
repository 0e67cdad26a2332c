"""Which conversations a retention policy is about: by the age of their last message, their tags and their owners."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.kit.clock import now
from app.kit.repository import EVERYTHING, Row
from app.privacy.repository import AgedConversations
from app.users.repository import UserRepository


@dataclass(frozen=True)
class Selected:
    """Some of the conversations of a policy: those that may be removed, and how many others are held."""

    rows: Sequence[Row]
    held: int


def cutoff_of(policy: Row) -> datetime:
    """The last message must be older than this."""
    return now() - timedelta(days=policy["days"])


class Selection:
    def __init__(self, conversations: AgedConversations, users: UserRepository) -> None:
        self._conversations = conversations
        self._users = users

    async def of(self, policy: Row, before: datetime) -> AsyncGenerator[Selected, None]:
        """The conversations of a policy in batches, the oldest first."""
        async for rows in self._conversations.older_than(before, policy["tags"]):
            owners = await self._users.of_ids(EVERYTHING, {row["owner_id"] for row in rows}, fields=("role", "hold_id"))
            meant = [row for row in rows if _is_meant(policy, owners.get(row["owner_id"]))]
            free = [row for row in meant if not _is_held(row, owners.get(row["owner_id"]))]
            yield Selected(free, len(meant) - len(free))


def _is_meant(policy: Row, owner: Row | None) -> bool:
    """Whether the owner has one of the roles; who is gone has none."""
    return not policy["roles"] or (owner is not None and owner["role"] in policy["roles"])


def _is_held(row: Row, owner: dict[str, Any] | None) -> bool:
    return row.get("hold_id") is not None or (owner is not None and owner.get("hold_id") is not None)
