"""Erasing a user with all that is theirs, and the receipt that says so.

It begins with one transaction that makes every refusal, locks the user out and stores the receipt; the user goes last,
with the receipt's completion. In between each step can be done again, so an erasure that was cut short is gone on with:
by whoever asks again, or by any process once the lease of the dead one is over.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio
from beanie import Document
from bson import ObjectId

from app.audit.actor import current_actor
from app.audit.trail import record
from app.auth.model import ApiKey
from app.auth.session_model import RefreshToken, Session
from app.conversations.share_model import Revocation, ShareLink
from app.exports.model import ExportSchedule
from app.kit.clock import now
from app.kit.errors import Conflict, NotFound
from app.kit.etag import Versions
from app.kit.idempotency import forget_answers
from app.kit.paging import Cursors
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.transactions import Transactions
from app.limits.model import Spending
from app.privacy.holds import Holds
from app.privacy.inventory import INVENTORY, Filter, spending_of
from app.privacy.model import Erasure, Fate
from app.privacy.parts import Parts
from app.privacy.purging import Purging
from app.privacy.repository import ErasureRepository, PersonalRows
from app.rooms.model import Presence
from app.users.model import User
from app.webhooks.model import Delivery, Hook, Webhook

LEASE = timedelta(seconds=60)
"""How long a process may be silent about an erasure before another one goes on with it."""
RENEWAL_SECONDS = 10.0
PAUSE = timedelta(hours=1)
"""When an erasure that a hold has come in the way of is tried again by itself."""
PURGE_BATCH = 100
_TOLD = (Webhook, Delivery, Hook)
_LAST = (User, ApiKey, Session, RefreshToken, ExportSchedule, ShareLink)
"""What goes with the user, in one transaction."""


def subject_of(user_id: ObjectId) -> str:
    """What a receipt calls a user: whoever knows the id can tell whose it is, and nobody else."""
    return hashlib.sha256(str(user_id).encode()).hexdigest()


@dataclass(frozen=True)
class Erasures:
    rows: ErasureRepository
    holds: Holds
    purging: Purging
    parts: Parts
    transactions: Transactions
    cursors: Cursors

    async def erase(
        self, scope: Scope, user_id: ObjectId, conversations: Fate | None, versions: Versions = None
    ) -> ObjectId:
        """Remove a user and all that is theirs; answers the receipt's id. Conversations are deleted for good, or kept
        for admins to see.

        Without a word about the conversations a user who has some stays: raises Conflict, as it does for the last
        admin, for what is held, and while another process is at it. Every refusal comes before anything is lost.
        """
        holder = secrets.token_hex(8)
        with self.parts.access.keys.forgetting():
            id = await self.transactions.run(lambda: self._begin(scope, user_id, conversations, versions))
        await self.carry_out(id, holder)
        return id

    async def carry_out(self, id: ObjectId, holder: str) -> None:
        """Do what is left of an erasure. Raises Conflict while another process does, or when a hold came in between."""
        row = await self.rows.lease(id, holder, now() + LEASE)
        if row is None:
            raise Conflict("This user is being erased already.", reason="erasing")
        try:
            await self._remove(row, holder)
        except BaseException as error:
            pause = PAUSE if isinstance(error, Conflict) else timedelta()
            with anyio.CancelScope(shield=True):
                await self.rows.let_go(id, holder, now() + pause)
            raise

    async def _begin(self, scope: Scope, user_id: ObjectId, fate: Fate | None, versions: Versions) -> ObjectId:
        await self.parts.users.rows.get(scope, user_id)
        running = await self.rows.running_of(user_id)
        if fate is None and running is None and await self.parts.conversations.rows.ids_of_owner(user_id, limit=1):
            raise Conflict(
                "This user has conversations; say conversations=delete or conversations=keep.",
                reason="user_has_conversations",
            )
        chosen: Fate = fate or (running["conversations"] if running else "delete")
        await self.holds.guard_user(user_id, with_conversations=chosen == "delete")
        await self.parts.users.disable(scope, user_id, versions)  # so that no conversation is added any more
        if running is not None:
            await self.rows.choose(running["_id"], chosen)
            id: ObjectId = running["_id"]
            return id
        return await self._new(user_id, chosen)

    async def _new(self, user_id: ObjectId, fate: Fate) -> ObjectId:
        actor = current_actor()
        receipt = Erasure(
            subject=subject_of(user_id),
            user_id=user_id,
            conversations=fate,
            requested_by=actor.id,
            requested_kind=actor.kind,
            request_id=actor.request_id,
            lease_until=now(),
        )
        await self.rows.insert(receipt)
        await record("erasure.created", "erasures", receipt.id, subject_id=user_id, details={"conversations": fate})
        return receipt.id

    async def _remove(self, receipt: Row, holder: str) -> None:
        user_id: ObjectId = receipt["user_id"]
        await self._counted(receipt, "imports", await self.parts.imports.jobs.delete_of_owner(user_id))
        if receipt["conversations"] == "delete":
            await self._remove_conversations(receipt, holder)
        await self._counted(receipt, "exports", await self.parts.exports.jobs.delete_of_owner(user_id))
        await self._remove_webhooks(receipt)
        await self._remove_traces(receipt)

        async def finish() -> None:
            counts = {each.collection.name: await each.count_of(where) for each, where in self._of(user_id, _LAST)}
            await self.parts.schedules.rows.delete_of_owner(user_id)
            await self.parts.users.delete(EVERYTHING, user_id)
            await self.parts.access.keys.rows.delete_of_user(user_id)
            await self.parts.access.sessions.rows.remove_of_user(user_id)
            await self.parts.sharing.rows.forget_user(user_id)
            await self.parts.links.rows.delete_of({"owner_id": user_id})
            await self.rows.count(receipt["_id"], counts)
            await self.rows.complete(receipt["_id"])
            await record("user.erased", "users", user_id, subject_id=user_id, details={"erasure": str(receipt["_id"])})

        with self.parts.access.keys.forgetting():
            await self.transactions.run(finish)

    async def _remove_conversations(self, receipt: Row, holder: str) -> None:
        async def on_start(counts: Mapping[str, int]) -> None:
            await self.rows.count(receipt["_id"], counts)

        renew_at = time.monotonic() + RENEWAL_SECONDS
        while ids := await self.parts.conversations.rows.ids_of_owner(receipt["user_id"], limit=PURGE_BATCH):
            for id in ids:
                if time.monotonic() >= renew_at:
                    renew_at = time.monotonic() + RENEWAL_SECONDS
                    if await self.rows.lease(receipt["_id"], holder, now() + LEASE) is None:
                        raise Conflict("Another process goes on with this erasure.", reason="erasing")
                try:
                    await self.purging.purge(EVERYTHING, id, on_start=on_start)
                except NotFound:
                    if await self.parts.conversations.rows.hold_state(id) is not None:
                        raise
                    # otherwise somebody has removed it just now

    async def _remove_webhooks(self, receipt: Row) -> None:
        """What was sent and received, and the answers to who has asked with a key or a signature."""
        user_id: ObjectId = receipt["user_id"]
        hooks = await self._rows(Hook).ids_of({"owner_id": user_id})
        answers = await forget_answers([str(user_id), *(f"hook:{id}" for id in hooks)])
        await self._counted(receipt, "idempotency_records", answers)
        counts = {each.collection.name: await each.count_of(where) for each, where in self._of(user_id, _TOLD)}
        await self.parts.webhooks.forget_owner(user_id)
        await self.rows.count(receipt["_id"], counts)

    async def _remove_traces(self, receipt: Row) -> None:
        """What was noted in passing: where the user was, what they have used, that something is shared no more."""
        user_id: ObjectId = receipt["user_id"]
        for document in (Presence, Revocation):
            rows = self._rows(document)
            await self._counted(receipt, rows.collection.name, await rows.remove({"user_id": user_id}))
        keys = await self._rows(ApiKey).ids_of({"user_id": user_id})
        spent = {"$or": [spending_of("user", user_id), *(spending_of("key", id) for id in keys)]}
        await self._counted(receipt, "spending", await self._rows(Spending).remove(spent))

    async def _counted(self, receipt: Row, name: str, number: int) -> None:
        await self.rows.count(receipt["_id"], {name: number})

    def _rows(self, document: type[Document]) -> PersonalRows:
        return PersonalRows(self.cursors, document)

    def _of(self, user_id: ObjectId, documents: Sequence[type[Document]]) -> list[tuple[PersonalRows, Filter]]:
        """The user's rows of these collections."""
        return [
            (self._rows(each.document), each.of(user_id))
            for each in INVENTORY
            if each.of is not None and each.document in documents
        ]
