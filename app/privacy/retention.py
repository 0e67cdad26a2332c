"""Retention policies: conversations that are removed when their last message is old enough.

One process works on a policy at a time, under a lease that it renews. Each conversation is removed in the version in
which it was found: a word more, a change or a hold in between spares it.
"""

import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.audit.actor import Actor, acting
from app.audit.trail import record
from app.kit.clock import now
from app.kit.editing import edited
from app.kit.errors import Conflict, NotFound, PreconditionFailed
from app.kit.etag import Versions
from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Row, Scope
from app.privacy.model import RetentionPolicy
from app.privacy.purging import Purging
from app.privacy.repository import PolicyRepository
from app.privacy.schemas import PolicyInput
from app.privacy.selection import Selection, cutoff_of

EVERY = timedelta(hours=1)
LEASE = timedelta(seconds=60)
MOST_POLICIES = 100
DRY_RUN_SECONDS = 10.0


class Retention:
    def __init__(self, rows: PolicyRepository, selection: Selection, purging: Purging) -> None:
        self.rows = rows
        self._selection = selection
        self._purging = purging

    async def create(self, new: PolicyInput) -> Row:
        """A new policy, which removes nothing before it is enabled. Raises Conflict for one too many."""
        if await self.rows.count() >= MOST_POLICIES:
            raise Conflict(f"{MOST_POLICIES} retention policies are the most; remove one.", reason="too_many")
        return await self.rows.insert(RetentionPolicy(**new.model_dump(), next_at=now()))

    async def patch(self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        """Change a policy; a run of it ends, and the next one begins as the policy is then."""

        async def write(new: PolicyInput, seen: Versions) -> Row:
            return await self.rows.update(scope, id, {"$set": {**new.model_dump(), "next_at": now()}}, versions=seen)

        return await edited(lambda: self.rows.get(scope, id), patch, PolicyInput, write, versions)

    async def dry_run(self, scope: Scope, id: ObjectId) -> dict[str, Any]:
        """What the policy would remove now, enabled or not. Raises NotFound."""
        policy = await self.rows.get(scope, id)
        before, end = cutoff_of(policy), time.monotonic() + DRY_RUN_SECONDS
        counts: Counter[str] = Counter(conversations=0, messages=0, held=0)
        oldest, complete = None, True
        async with aclosing(self._selection.of(policy, before)) as selected:
            async for each in selected:
                ages = [row["last_message_at"] or row["created_at"] for row in each.rows]
                oldest = min([*ages, *([oldest] if oldest else [])], default=None)
                counts["conversations"] += len(each.rows)
                counts["messages"] += sum(row["message_count"] for row in each.rows)
                counts["held"] += each.held
                if time.monotonic() >= end:
                    complete = False
                    break
        return {"before": before, **counts, "oldest": oldest, "complete": complete}

    async def run_due(self) -> int:
        """Run the policies whose time has come and that no other process works on; answers how many."""
        holder, ran = secrets.token_hex(8), 0
        while (policy := await self.rows.take_due(holder, now() + LEASE)) is not None:
            with acting(Actor("system", request_id=f"retention:{policy['_id']}")):
                await self._run(policy, holder)
            ran += 1
        return ran

    async def _run(self, policy: Row, holder: str) -> None:
        counts: Counter[str] = Counter(removed=0, held=0, spared=0)
        async with aclosing(self._selection.of(policy, cutoff_of(policy))) as selected:
            async for each in selected:
                counts["held"] += each.held
                if not await self._remove(policy, holder, each.rows, counts):
                    break
        await self.rows.end_run(policy, holder, now() + EVERY, {"at": now(), **counts})
        if counts["removed"]:
            await record("retention-policy.ran", "retention", policy["_id"], details=counts)
            logger.info("retention_ran", policy=str(policy["_id"]), **counts)

    async def _remove(self, policy: Row, holder: str, rows: Any, counts: Counter[str]) -> bool:
        """Remove conversations one by one; False when the policy was changed or another process has it."""
        for row in rows:
            if not await self.rows.go_on(policy["_id"], holder, policy["version"], now() + LEASE):
                return False
            counts[await self._fate_of(row)] += 1
        return True

    async def _fate_of(self, row: Row) -> str:
        try:
            await self._purging.purge(EVERYTHING, row["_id"], frozenset({row["version"]}))
        except (NotFound, PreconditionFailed):
            return "spared"
        except Conflict:
            return "held"
        return "removed"
