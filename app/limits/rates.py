"""How many requests in a minute: a sliding window, counted in memory and shared with other processes once a second.

The window slides by weighing the minute before: of that as much counts as still lies within sixty seconds. What other
processes let in within the last second is not known here: so many more than the limit may pass.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pymongo.errors import PyMongoError

from app.kit.logs import logger
from app.limits.repository import BATCH, RateRepository

WINDOW_SECONDS = 60
SHARING_SECONDS = 1.0
MAX_SUBJECTS = 100_000
"""Users and addresses that a process remembers; those seen longest ago are forgotten first."""


@dataclass(frozen=True)
class Policy:
    """`quota` requests in a minute, of each of what `name` says."""

    name: str
    quota: int

    @property
    def field(self) -> str:
        """As the header RateLimit-Policy has it."""
        return f'"{self.name}";q={self.quota};w={WINDOW_SECONDS}'


@dataclass(frozen=True)
class Verdict:
    """Whether a request is let in, how many more are, and in how many seconds (more of) them will be."""

    policy: Policy
    is_admitted: bool
    remaining: int
    seconds: int

    @property
    def field(self) -> str:
        """As the header RateLimit has it."""
        return f'"{self.policy.name}";r={self.remaining};t={self.seconds}'


class _Count:
    """Requests of one subject. `own`: those of this minute that are not stored yet; `stored`: all others."""

    __slots__ = ("minute", "own", "previous", "stored")

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.own = self.stored = self.previous = 0

    def move_to(self, minute: int) -> None:
        if minute != self.minute:
            self.previous = self.own + self.stored if minute == self.minute + 1 else 0
            self.own = self.stored = 0
            self.minute = minute


class RateLimits:
    """The limits of one process. A policy with quota 0 lets everybody in."""

    def __init__(
        self, rows: RateRepository, *, per_user: int, per_address: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.user = Policy("user", per_user)
        self.address = Policy("address", per_address)
        self._rows = rows
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._unshared: set[str] = set()
        self._sharing: asyncio.Task[None] | None = None
        self._is_open = False

    def take(self, policy: Policy, whose: str) -> Verdict | None:
        """Count a request; one that is not let in does not count. None where there is no limit."""
        if not policy.quota:
            return None
        instant = self._clock()
        minute, elapsed = divmod(instant, WINDOW_SECONDS)
        subject = f"{policy.name}:{whose}"
        count = self._count(subject, int(minute))
        used = count.own + count.stored + count.previous * (1 - elapsed / WINDOW_SECONDS)
        if used + 1 > policy.quota:
            return Verdict(policy, False, 0, _seconds_to_wait(count, policy.quota, elapsed))
        count.own += 1
        self._unshared.add(subject)
        if self._is_open and self._sharing is None:
            self._sharing = asyncio.create_task(self._share_soon())
        return Verdict(policy, True, int(policy.quota - used - 1), math.ceil(WINDOW_SECONDS - elapsed))

    def open(self) -> None:
        """Share what is counted from now on."""
        self._is_open = True

    async def aclose(self) -> None:
        self._is_open = False
        if self._sharing is not None:
            self._sharing.cancel()
            await asyncio.wait({self._sharing})

    async def share(self) -> None:
        """Tell other processes what was counted here, and hear what was counted there. Raises PyMongoError."""
        subjects = list(self._unshared)[:BATCH]
        self._unshared.difference_update(subjects)
        counts = {subject: count for subject in subjects if (count := self._counts.get(subject)) is not None}
        told = {f"{subject}@{count.minute}": (count, count.own) for subject, count in counts.items() if count.own}
        if told:
            expires_at = datetime.fromtimestamp(self._clock() + 3 * WINDOW_SECONDS, UTC)
            try:
                await self._rows.add({id: own for id, (_, own) in told.items()}, expires_at)
            except PyMongoError:
                self._unshared.update(subjects)
                raise
        for id, (count, own) in told.items():
            if id.endswith(f"@{count.minute}"):  # a new minute has begun otherwise, and has them as `previous`
                count.own -= own
                count.stored += own
        await self._hear(counts)

    async def _hear(self, counts: dict[str, _Count]) -> None:
        minutes = {subject: count.minute for subject, count in counts.items()}
        ids = [f"{subject}@{each}" for subject, minute in minutes.items() for each in (minute, minute - 1)]
        if not ids:
            return
        known = await self._rows.read(ids)
        for subject, minute in minutes.items():
            count = counts[subject]
            if count.minute == minute:
                count.stored = max(count.stored, known.get(f"{subject}@{minute}", 0))
                count.previous = max(count.previous, known.get(f"{subject}@{minute - 1}", 0))

    async def _share_soon(self) -> None:
        try:
            while self._unshared:
                await asyncio.sleep(SHARING_SECONDS)
                try:
                    await self.share()
                except PyMongoError as error:  # the process goes on with what it knows
                    logger.warning("rates_not_shared", error=type(error).__name__)
        finally:
            self._sharing = None

    def _count(self, subject: str, minute: int) -> _Count:
        count = self._counts.get(subject)
        if count is None:
            count = self._counts[subject] = _Count(minute)
            if len(self._counts) > MAX_SUBJECTS:
                self._counts.popitem(last=False)
        else:
            self._counts.move_to_end(subject)
            count.move_to(minute)
        return count


def _seconds_to_wait(count: _Count, quota: int, elapsed: float) -> int:
    """Until the next request will be let in, when nobody asks meanwhile."""
    now = count.own + count.stored
    if now < quota:  # the minute before has to go by
        seconds = WINDOW_SECONDS * (1 - (quota - 1 - now) / max(count.previous, 1)) - elapsed
    else:  # the next one begins, and this one has to go by
        seconds = WINDOW_SECONDS - elapsed + WINDOW_SECONDS * (1 - (quota - 1) / now)
    return max(1, math.ceil(seconds))
