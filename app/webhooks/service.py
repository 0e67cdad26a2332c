"""What users do with webhooks, and the processes behind them."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.kit.addresses import AddressGuard, ForbiddenAddress
from app.kit.clock import now
from app.kit.editing import edited
from app.kit.errors import Conflict, Forbidden, Invalid
from app.kit.etag import Versions
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.signatures import new_secret
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.inbound import InboundHooks
from app.webhooks.model import Secret, Webhook
from app.webhooks.relay import Relay
from app.webhooks.repository import DeliveryRepository, RelayRepository, WebhookRepository
from app.webhooks.resource import WEBHOOKS
from app.webhooks.retries import Times
from app.webhooks.schemas import WebhookCreate, WebhookUpdate
from app.webhooks.subscriptions import notice

MAX_PER_OWNER = 50
MAX_SECRETS = 5
"""Secrets that are good at the same time."""
_HEARD_WITH: Mapping[str, Permission] = {
    "conversation": "conversations:read",
    "message": "conversations:read",
    "turn": "conversations:read",
    "export": "exports:read",
}
"""What reads the same as an event tells, by the first word of its type."""


class WebhookService:
    def __init__(
        self,
        rows: WebhookRepository,
        deliveries: DeliveryRepository,
        state: RelayRepository,
        relay: Relay,
        dispatcher: Dispatcher,
        inbound: InboundHooks,
        guard: AddressGuard,
        times: Times,
    ) -> None:
        self.rows = rows
        self.deliveries = deliveries
        self.inbound = inbound
        self._state = state
        self._relay = relay
        self._dispatcher = dispatcher
        self._guard = guard
        self._times = times

    def open(self) -> None:
        """Take part in telling and delivering."""
        self._relay.open()
        self._dispatcher.open()

    async def aclose(self) -> None:
        await asyncio.gather(self._relay.aclose(), self._dispatcher.aclose())

    def has_news(self) -> None:
        """Something was stored here that is to be told or delivered at once; otherwise it takes a second."""
        self._relay.wake()
        self._dispatcher.wake()

    async def create(self, principal: Principal, new: WebhookCreate) -> tuple[Row, str]:
        """A new webhook and its secret, which is not shown again. Raises Invalid, Forbidden, Conflict."""
        self._check(new, principal)
        if await self.rows.count_of(principal.user_id) >= MAX_PER_OWNER:
            raise Conflict(f"{MAX_PER_OWNER} webhooks are the most; delete one.", reason="too_many_webhooks")
        secret = new_secret()
        webhook = Webhook(
            **new.model_dump(),
            owner_id=principal.user_id,
            secrets=[Secret(value=secret)],
            active_from=await self._here(),
        )
        return await self.rows.insert(webhook), secret

    async def patch(self, principal: Principal, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        """Change some of it; switched on again it hears of what happens from then on.

        Raises NotFound, and as `create` does.
        """
        scope = principal.scope(WEBHOOKS)

        async def write(update: WebhookUpdate, seen: Versions) -> Row:
            row = await self.rows.get(scope, id)
            self._check(update, principal, heard_all=row["hears_all"])
            change = update.model_dump()
            if update.active and not row["active"]:
                change |= {"active_from": await self._here(), "disabled_reason": None, "failing_since": None}
            return await self.rows.update(scope, id, {"$set": change}, versions=seen)

        row = await edited(lambda: self.rows.get(scope, id), patch, WebhookUpdate, write, versions)
        self.has_news()
        return row

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions = None) -> None:
        """Remove the webhook and its log. Cut short, the rest of the log expires."""
        await self.rows.delete(scope, id, versions=versions)
        await self.deliveries.delete_of_webhook(id)

    async def rotate(self, scope: Scope, id: ObjectId, overlap: timedelta) -> tuple[Row, str]:
        """A new secret; the old ones are good for `overlap` more.

        Raises NotFound, Conflict, and PreconditionFailed when the webhook is changed at the same time.
        """
        stored, version = await self.rows.secrets(scope, id)
        instant = now()
        end = instant + overlap
        old = [each | {"expires_at": min(each["expires_at"] or end, end)} for each in stored]
        kept = [each for each in old if each["expires_at"] > instant]
        if len(kept) >= MAX_SECRETS:
            raise Conflict(
                f"{MAX_SECRETS} secrets are good at the same time; wait, or rotate without overlap.",
                reason="too_many_secrets",
            )
        secret = new_secret()
        change = {"secrets": [*kept, Secret(value=secret).model_dump()]}
        return await self.rows.update(scope, id, {"$set": change}, versions=frozenset({version})), secret

    async def ping(self, scope: Scope, id: ObjectId) -> Row:
        """A delivery that says no more than that it was sent. Raises NotFound, Conflict."""
        webhook = await self._active(scope, id)
        return await self.deliveries.insert(notice("webhook.ping", id, webhook["owner_id"], {}, self._times))

    async def redeliver(self, scope: Scope, webhook_id: ObjectId, id: ObjectId) -> Row:
        """Begin a delivery anew, with the same id and body. Raises NotFound, Conflict."""
        webhook = await self._active(scope, webhook_id)
        mine = Scope({"webhook_id": webhook["_id"]})
        change = {
            "state": "pending",
            "attempts": 0,
            "claim": None,
            "finished_at": None,
            **self._times.of_new(now()),
        }
        return await self.deliveries.update(mine, id, {"$set": change})

    async def forget_conversation(self, id: ObjectId) -> None:
        """A conversation is removed for good, and with it what deliveries and hooks have of it."""
        await self.deliveries.delete_of_conversation(id)
        await self.inbound.rows.delete_of({"conversation_id": id})

    async def forget_owner(self, id: ObjectId) -> None:
        """A user is removed. Cut short, it can be done again."""
        for each in await self.rows.ids_of_owner(id):
            await self.delete(EVERYTHING, each)
        await self.inbound.rows.delete_of({"owner_id": id})

    async def _active(self, scope: Scope, id: ObjectId) -> Row:
        webhook = await self.rows.get(scope, id)
        if not webhook["active"]:
            raise Conflict("This webhook is off; switch it on with PATCH first.", reason="inactive")
        return webhook

    async def _here(self) -> int:
        """The place in the log from which a webhook is told; whoever reads the log begins no later."""
        position = await self._state.log_position()
        await self._state.prepare(position)
        return position

    def _check(self, webhook: WebhookUpdate, principal: Principal, *, heard_all: bool = False) -> None:
        """Nobody hears of what their credential may not read, also not by sending what is heard somewhere else."""
        principal.require(*dict.fromkeys(_HEARD_WITH[each.partition(".")[0]] for each in webhook.events))
        if webhook.hears_all and not (principal.is_admin or heard_all):
            raise Forbidden("To hear of everybody's rows needs the permission 'admin'.")
        try:
            self._guard.check_url(webhook.url)
        except ForbiddenAddress as error:
            raise Invalid.field("body.url", str(error)) from error
