"""Due deliveries, attempted by every process side by side.

Each webhook has a lane of its own, in which a few deliveries are attempted at a time, and one while it fails. So a
receiver that is slow or dead holds up nobody else, and deliveries of one webhook begin in the order of their events but
need not arrive in it.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.logs import logger
from app.kit.repository import Row
from app.kit.signatures import signed_headers
from app.webhooks.repository import DeliveryRepository, WebhookRepository
from app.webhooks.retries import Times
from app.webhooks.sender import GONE, Attempt, Sender

LANE_WIDTH = 8
"""Attempts of one webhook at the same time, in one process."""
MAX_WAITING = 100_000
"""Deliveries that may wait for a webhook that fails: a receiver that is away must not fill the database."""
MAX_LANES = 128
"""Webhooks that a process attends to at the same time."""
_PAUSE_SECONDS = 1.0
_GOODBYE_SECONDS = 3.0


class Dispatcher:
    def __init__(
        self,
        webhooks: WebhookRepository,
        deliveries: DeliveryRepository,
        sender: Sender,
        times: Times,
        *,
        lease_seconds: float,
    ) -> None:
        """`lease_seconds`: for how long nobody else attempts a delivery; longer than any attempt takes."""
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._sender = sender
        self._times = times
        self._lease_seconds = lease_seconds
        self._lanes: dict[ObjectId, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to deliver, in tasks of its own."""
        self._task = asyncio.create_task(self._run(), name="webhook-dispatcher")

    def wake(self) -> None:
        """Something is due."""
        self._news.set()

    async def aclose(self) -> None:
        """Begin nothing more; what is on its way has a few seconds, then it is left to another process."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        if self._lanes:
            _, late = await asyncio.wait(self._lanes.values(), timeout=_GOODBYE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._sender.aclose()

    async def _run(self) -> None:
        while True:
            raise_if_cancelled()
            self._news.clear()
            try:
                for id in await self._webhooks.active_of(await self._deliveries.due()):
                    self._attend_to(id)
            except PyMongoError as error:
                logger.warning("webhook_deliveries_not_read", error=type(error).__name__)
            except Exception:  # noqa: BLE001 what is due stays due
                logger.exception("webhook_deliveries_not_read")
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 spreads them
                    await self._news.wait()

    def _attend_to(self, id: ObjectId) -> None:
        if id not in self._lanes and len(self._lanes) < MAX_LANES:
            task = self._lanes[id] = asyncio.create_task(self._deliver_all(id))
            task.add_done_callback(lambda _: self._lanes.pop(id))

    async def _deliver_all(self, id: ObjectId) -> None:
        """Deliver what is due to one webhook, until nothing is or it fails."""
        try:
            while not self._is_stopping and await self._deliver_some(id):
                raise_if_cancelled()
        except PyMongoError as error:
            logger.warning("webhook_delivery_interrupted", webhook_id=str(id), error=type(error).__name__)
        except Exception:  # noqa: BLE001 its claims end, and then it is attempted again
            logger.exception("webhook_delivery_interrupted", webhook_id=str(id))

    async def _deliver_some(self, id: ObjectId) -> bool:
        """Attempt a few deliveries; answers whether to go on at once."""
        webhook = await self._webhooks.recipient(id)  # anew each time: it may be changed or off by now
        if webhook is None:
            return False
        width = LANE_WIDTH if webhook["failing_since"] is None else 1
        claim = secrets.token_hex(8)
        claimed = await self._deliveries.claim(id, claim, self._lease_seconds, limit=width)
        if not claimed:
            return False
        try:
            attempts = await asyncio.gather(*(self._attempt(webhook, each) for each in claimed))
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), suppress(PyMongoError):  # otherwise the claims end by themselves
                await self._deliveries.let_go(claimed, claim)
            raise
        await self._settle(webhook, claim, claimed, attempts)
        return all(attempt.is_ok for attempt in attempts)

    async def _attempt(self, webhook: Row, delivery: Row) -> Attempt:
        instant, body = now(), delivery["body"].encode()
        keys = [
            each["value"] for each in webhook["secrets"] if each["expires_at"] is None or each["expires_at"] > instant
        ]
        headers = signed_headers(keys, delivery["event_id"], int(time.time()), body)
        return await self._sender.post(webhook["url"], headers, body)

    async def _settle(self, webhook: Row, claim: str, claimed: Sequence[Row], attempts: Sequence[Attempt]) -> None:
        """Store the outcomes, and what they say about the webhook."""
        outcomes = [self._outcome(each, attempt) for each, attempt in zip(claimed, attempts, strict=True)]
        late = len(claimed) - await self._deliveries.settle(claimed, claim, outcomes)
        if late:
            logger.warning("webhook_deliveries_taken_over", webhook_id=str(webhook["_id"]), count=late)
        id, failing_since = webhook["_id"], webhook["failing_since"]
        if any(attempt.is_ok for attempt in attempts):
            if failing_since is not None:
                await self._webhooks.note_success(id)
        elif failing_since is None:
            await self._webhooks.note_failure(id)
        reasons = [self._reason_to_disable(failing_since, *pair) for pair in zip(attempts, outcomes, strict=True)]
        if failing_since is not None and await self._deliveries.has_more_waiting(id, MAX_WAITING):
            reasons.append(f"More than {MAX_WAITING} deliveries were waiting for it.")
        if (reason := next(filter(None, reasons), None)) is not None:
            logger.warning("webhook_disabled", webhook_id=str(id), reason=reason)
            await self._webhooks.disable(id, reason)

    def _outcome(self, delivery: Row, attempt: Attempt) -> dict[str, Any]:
        """What is stored of an attempt."""
        instant, following = now(), None
        if not attempt.is_ok and attempt.status != GONE:
            following = self._times.next_attempt(
                delivery["attempts"], instant, delivery["give_up_at"], least=attempt.wait
            )
        return {
            "state": "succeeded" if attempt.is_ok else "failed" if following is None else "pending",
            "next_attempt_at": following,
            "response_status": attempt.status,
            "error": attempt.error,
            "duration_ms": attempt.duration_ms,
            "finished_at": instant if following is None else None,
        }

    def _reason_to_disable(self, failing_since: Any, attempt: Attempt, outcome: dict[str, Any]) -> str | None:
        if attempt.status == GONE:
            return "The receiver answered 410: it is gone for good."
        if outcome["state"] == "failed" and self._times.has_failed_for_long(failing_since, now()):
            hours = self._times.give_up.total_seconds() / 3600
            return f"No delivery has succeeded for {hours:.0f} hours. {attempt.error}"
        return None
