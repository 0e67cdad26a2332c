"""Undoing an import: every conversation that it added and that nobody has changed since is removed.

Nobody has changed it when its version and those of its messages are the first ones: a word more, another title, a
rating, a deletion count them up. Short ones go many in a transaction, which a change in between makes look again; a
long one is taken out of sight first, then removed. Cut short at any point, an undo can be done again.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from app.conversations.grouping import grouped_by_messages
from app.conversations.repository import MessageRepository
from app.imports.drafts import MAX_MESSAGES
from app.imports.repository import UNTOUCHED, ImportedConversations, ImportedMessages
from app.kit.cancellation import raise_if_cancelled
from app.kit.errors import Conflict, NotFound
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.transactions import Transactions

BATCH = 200
KEPT_SHOWN = 100

Purge = Callable[[Scope, ObjectId], Awaitable[None]]
"""Removes a conversation with everything that belongs to it; raises NotFound, and Conflict when it is held."""
Guard = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Raises Conflict when a conversation {owner_id, hold_id} must not be removed."""


@dataclass
class UndoReport:
    removed: int = 0
    kept: int = 0
    kept_first: list[Row] = field(default_factory=list)

    def note_kept(self, row: Row) -> None:
        self.kept += 1
        if len(self.kept_first) < KEPT_SHOWN:
            self.kept_first.append({"id": row["_id"], "title": row["title"]})


class Undoing:
    def __init__(
        self,
        conversations: ImportedConversations,
        imported_messages: ImportedMessages,
        messages: MessageRepository,
        transactions: Transactions,
    ) -> None:
        self._conversations = conversations
        self._imported_messages = imported_messages
        self._messages = messages
        self._transactions = transactions
        self.guard: Guard | None = None

    async def steps(self, import_id: ObjectId, purge: Purge | None) -> AsyncGenerator[UndoReport, None]:
        """Remove the conversations of an import, and after each step what was done so far.

        `purge` removes those that were changed as well; without it they stay.
        """
        report = UndoReport()
        last: ObjectId | None = None
        while rows := await self._conversations.added_by(import_id, last, limit=BATCH):
            last = rows[-1]["_id"]
            touched = await self._touched(rows)
            for group in grouped_by_messages([row for row in rows if row["_id"] not in touched], MAX_MESSAGES):
                raise_if_cancelled()
                removed = await self._remove(group)
                report.removed += len(removed)
                touched |= {row["_id"] for row in group} - removed
            for row in rows:
                if row["_id"] in touched:
                    await self._keep_or_purge(row, purge, report)
            yield report
        yield report

    async def _touched(self, rows: Sequence[Row]) -> set[ObjectId]:
        """Those that somebody has changed."""
        same = [row["_id"] for row in rows if row["version"] <= UNTOUCHED]
        return {row["_id"] for row in rows} - set(same) | await self._imported_messages.touched(same)

    async def _remove(self, rows: Sequence[Row]) -> set[ObjectId]:
        """Remove those of the group that are as they were; answers them."""
        if await self._is_held(rows[0]["owner_id"]):
            return set()
        if len(rows) == 1 and rows[0]["message_count"] > MAX_MESSAGES:
            return await self._remove_long(rows[0])

        async def write() -> set[ObjectId]:
            ids = await self._conversations.untouched([row["_id"] for row in rows])
            ids -= await self._imported_messages.touched(ids)
            if ids:
                await self._conversations.withdraw(rows[0]["owner_id"], ids)
                await self._conversations.remove_untouched(ids)
                await self._messages.purge(*ids)
            return ids

        return await self._transactions.run(write)

    async def _is_held(self, owner_id: ObjectId) -> bool:
        """Whether nothing of the owner may be removed. A hold on one conversation counts as a change of it."""
        try:
            if self.guard is not None:
                await self.guard({"owner_id": owner_id, "hold_id": None})
        except Conflict:
            return True
        return False

    async def _remove_long(self, row: Row) -> set[ObjectId]:
        id: ObjectId = row["_id"]
        if not await self._conversations.withdraw(row["owner_id"], [id]):
            return set()
        await self._messages.purge(id)
        await self._conversations.remove_untouched([id])
        return {id}

    async def _keep_or_purge(self, row: Row, purge: Purge | None, report: UndoReport) -> None:
        if purge is None:
            report.note_kept(row)
            return
        try:
            await purge(EVERYTHING, row["_id"])
        except NotFound:
            return  # its owner has removed it just now
        except Conflict:
            report.note_kept(row)
            return
        report.removed += 1
