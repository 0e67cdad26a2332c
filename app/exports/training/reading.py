"""Transcripts in the order of a list of conversations, in batches whose size is bounded by messages and bytes.

The conversations are read by key, so reading can go on behind any of them. The messages of a batch are one query whose
reply fills 16 MiB at most. Where that does not hold them all, each conversation is read on its own, and of one that is
longer still only its beginning: that is more than the longest line.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from app.conversations.grouping import grouped_by_messages
from app.conversations.repository import ConversationRepository, MessageRepository
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.exports.service import ScopeOf
from app.exports.training.model import Transcript
from app.kit.cancellation import raise_if_cancelled
from app.kit.export.worker import closing
from app.kit.listing import Listing
from app.kit.paging import Position
from app.kit.repository import Row
from app.turns.repository import TurnRepository
from app.turns.resource import TURNS

CONVERSATIONS_AT_ONCE = 100
MESSAGES_AT_ONCE = 2000
MOST_MESSAGES = 10_000
"""Of one conversation; those behind are in no line."""

_FIELDS = ("system_prompt", "parent", "message_count")


@dataclass(frozen=True)
class TranscriptSource:
    """Where transcripts are, and which rows of a resource may be seen."""

    conversations: ConversationRepository
    messages: MessageRepository
    turns: TurnRepository
    scope_of: ScopeOf

    async def batches(self, listing: Listing, start: Position | None = None) -> AsyncGenerator[list[Transcript], None]:
        """The transcripts of all conversations of the listing, or of those behind `start`."""
        found = self.conversations.batches(
            self.scope_of(CONVERSATIONS), replace(listing, fields=_FIELDS), size=CONVERSATIONS_AT_ONCE, start=start
        )
        async with closing(found):
            async for rows in found:
                for group in grouped_by_messages(rows, MESSAGES_AT_ONCE):
                    raise_if_cancelled()
                    async for batch in self._batches(group):
                        yield batch

    async def _batches(self, conversations: Sequence[Row]) -> AsyncGenerator[list[Transcript], None]:
        ids = [row["_id"] for row in conversations]
        run = await self.messages.transcripts(self.scope_of(MESSAGES), ids, limit=MOST_MESSAGES)
        if not run.is_last and len(ids) > 1:
            del run  # up to 16 MiB
            for each in conversations:
                async for batch in self._batches([each]):
                    yield batch
            return
        messages = _by_conversation(run.rows)
        offered = _by_conversation(await self.turns.offered_tools(self.scope_of(TURNS), ids))
        yield [
            Transcript(row, messages.get(row["_id"], []), offered.get(row["_id"], []), is_whole=run.is_last)
            for row in conversations
        ]


def _by_conversation(rows: Sequence[Row]) -> dict[ObjectId, list[Row]]:
    found: dict[ObjectId, list[Any]] = {}
    for row in rows:
        found.setdefault(row["conversation_id"], []).append(row)
    return found
