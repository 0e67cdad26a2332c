"""What every process looks after now and then: erasures that were cut short, and retention policies that are due."""

import asyncio
import random
import secrets

from pymongo.errors import PyMongoError

from app.audit.actor import Actor, acting
from app.kit.cancellation import raise_if_cancelled
from app.kit.errors import Conflict
from app.kit.logs import logger
from app.privacy.erasures import Erasures
from app.privacy.retention import Retention

LOOK_SECONDS = 15.0


class PrivacyUpkeep:
    def __init__(self, erasures: Erasures, retention: Retention) -> None:
        self._erasures = erasures
        self._retention = retention
        self._clock: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._clock = asyncio.create_task(self._look(), name="privacy-upkeep")

    async def aclose(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait({self._clock})

    async def go_on_with_erasures(self) -> int:
        """Finish erasures whose process is gone; answers how many. What a hold keeps is tried again later."""
        finished = 0
        for id in await self._erasures.rows.abandoned():
            try:
                with acting(Actor("system", request_id=f"erasure:{id}")):
                    await self._erasures.carry_out(id, secrets.token_hex(8))
            except Conflict as error:
                logger.warning("erasure_waits", erasure=str(id), reason=error.members.get("reason"))
                continue
            finished += 1
        return finished

    async def _look(self) -> None:
        while True:
            raise_if_cancelled()
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1))  # noqa: S311 spreads the processes
            try:
                await self.go_on_with_erasures()
                await self._retention.run_due()
            except PyMongoError as error:
                logger.warning("privacy_upkeep_failed", error=type(error).__name__)
            except Exception:  # noqa: BLE001 one row that cannot be removed must not end the clock
                logger.exception("privacy_upkeep_failed")
