"""Due deliveries, attempted by every process side by side.

Each webhook has a lane of its own: one attempt at a time, up to `LANE_WIDTH` while more are waiting and it answers
well. So a receiver that is slow or dead holds up nobody else, and deliveries of one webhook begin in the order of their
events but need not arrive in it.
"""

import asyncio
import random
import secrets
import time
from contextlib import suppress

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
AT_ONCE = 256
"""Attempts of a process at the same time."""
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
        self._lanes: dict[ObjectId, set[asyncio.Task[None]]] = {}
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
        if running := [task for lane in self._lanes.values() for task in lane]:
            _, late = await asyncio.wait(running, timeout=_GOODBYE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._sender.aclose()

    async def _run(self) -> None:
        while True:
            raise_if_cancelled()
            self._news.clear()
            try:
                for id in await self._deliveries.due():
                    if not self._lanes.get(id):
                        self._widen(id)
            except PyMongoError as error:
                logger.warning("webhook_deliveries_not_read", error=type(error).__name__)
            except Exception:  # noqa: BLE001 what is due stays due
                logger.exception("webhook_deliveries_not_read")
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 spreads them
                    await self._news.wait()

    def _widen(self, id: ObjectId) -> None:
        """One more attempt at a time for this webhook, if there is room."""
        lane = self._lanes.setdefault(id, set())
        if len(lane) < LANE_WIDTH and sum(map(len, self._lanes.values())) < AT_ONCE and not self._is_stopping:
            task = asyncio.create_task(self._deliver_all(id))
            lane.add(task)
            task.add_done_callback(lambda done: self._narrow(id, done))

    def _narrow(self, id: ObjectId, done: asyncio.Task[None]) -> None:
        lane = self._lanes[id]
        lane.discard(done)
        if not lane:
            del self._lanes[id]

    async def _deliver_all(self, id: ObjectId) -> None:
        """Deliver what is due to one webhook, until nothing is or it fails."""
        try:
            while not self._is_stopping and await self._deliver_next(id):
                raise_if_cancelled()
        except PyMongoError as error:
            logger.warning("webhook_delivery_interrupted", webhook_id=str(id), error=type(error).__name__)
        except Exception:  # noqa: BLE001 its claim ends, and then it is attempted again
            logger.exception("webhook_delivery_interrupted", webhook_id=str(id))

    async def _deliver_next(self, id: ObjectId) -> bool:
        """Attempt one delivery; answers whether to go on with the next one at once."""
        webhook = await self._webhooks.recipient(id)  # anew each time: it may be changed or off by now
        if webhook is None:
            return False
        delivery = await self._deliveries.claim(id, secrets.token_hex(8), self._lease_seconds)
        if delivery is None:
            return False
        if webhook["failing_since"] is None:
            self._widen(id)
        try:
            attempt = await self._attempt(webhook, delivery)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), suppress(PyMongoError):  # otherwise its claim ends by itself
                await self._deliveries.let_go(delivery)
            raise
        await self._settle(webhook, delivery, attempt)
        return attempt.is_ok

    async def _attempt(self, webhook: Row, delivery: Row) -> Attempt:
        instant, body = now(), delivery["body"].encode()
        keys = [each["value"] for each in webhook["secrets"] if not _is_over(each, instant)]
        headers = signed_headers(keys, delivery["event_id"], int(time.time()), body)
        return await self._sender.post(webhook["url"], headers, body)

    async def _settle(self, webhook: Row, delivery: Row, attempt: Attempt) -> None:
        """Store the outcome, and what it says about the webhook."""
        instant, id = now(), webhook["_id"]
        following = None
        if not attempt.is_ok and attempt.status != GONE:
            following = self._times.next_attempt(
                delivery["attempts"], instant, delivery["give_up_at"], least=attempt.wait
            )
        state = "succeeded" if attempt.is_ok else "failed" if following is None else "pending"
        outcome = {
            "state": state,
            "next_attempt_at": following,
            "response_status": attempt.status,
            "error": attempt.error,
            "duration_ms": attempt.duration_ms,
            "finished_at": None if state == "pending" else instant,
        }
        if not await self._deliveries.settle(delivery, outcome):
            logger.warning("webhook_delivery_taken_over", webhook_id=str(id), delivery_id=str(delivery["_id"]))
            return
        if attempt.is_ok:
            if webhook["failing_since"] is not None:
                await self._webhooks.note_success(id)
            return
        if webhook["failing_since"] is None:
            await self._webhooks.note_failure(id)
        if (reason := self._reason_to_disable(webhook, attempt, state)) is not None:
            await self._webhooks.disable(id, reason)
            logger.warning("webhook_disabled", webhook_id=str(id), status=attempt.status)

    def _reason_to_disable(self, webhook: Row, attempt: Attempt, state: str) -> str | None:
        if attempt.status == GONE:
            return "The receiver answered 410: it is gone for good."
        if state == "failed" and self._times.has_failed_for_long(webhook["failing_since"], now()):
            hours = self._times.give_up.total_seconds() / 3600
            return f"No delivery has succeeded for {hours:.0f} hours. {attempt.error}"
        return None


def _is_over(secret: Row, instant: object) -> bool:
    return secret["expires_at"] is not None and secret["expires_at"] <= instant
