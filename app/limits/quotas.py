"""What users and keys may use of language models in a day and a month, held while an answer is being written.

What answers have used is added to counts that all processes share, a batch at a time. An answer under way counts too:
all those of a process against one account, which is read again every few seconds for the sake of other processes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.clock import now
from app.kit.errors import QuotaExceeded
from app.kit.logs import logger
from app.limits.model import Quota
from app.limits.periods import Period, periods_at
from app.limits.repository import SpendingRepository

READ_EVERY_SECONDS = 5.0
_PAUSE_SECONDS = 1.0
_NOTHING: Mapping[str, float] = {"turns": 0, "tokens": 0, "cost": 0.0}


@dataclass(frozen=True)
class Payer:
    """Whose account an answer goes to: a user, and the key that was used, with what that may use."""

    user_id: ObjectId
    key_id: ObjectId | None = None
    key_quota: Quota | None = None


@dataclass
class _Account:
    """What one subject has used. `running`: what answers under way here have used so far, and is not stored."""

    subject: str
    quota: Quota
    stored: dict[str, Mapping[str, float]] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    read_at: float = 0.0
    meters: int = 0

    @property
    def is_stale(self) -> bool:
        return not self.read_at or time.monotonic() - self.read_at > READ_EVERY_SECONDS

    def check(self, pending: Mapping[str, Mapping[str, float]]) -> None:
        """Raises QuotaExceeded when nothing is left."""
        for period in periods_at(now()):
            id = period.id_of(self.subject)
            for kind in ("tokens", "cost"):
                limit = getattr(self.quota, f"{kind}_per_{period.name}")
                used = sum(each.get(kind, 0) for each in (self.stored.get(id, _NOTHING), pending.get(id, _NOTHING)))
                if limit is not None and used + self.running[kind] >= limit:
                    raise _exceeded(self.subject, kind, limit, period)


class Meter:
    """What one answer has used so far, as far as that can be told while it is written."""

    def __init__(self, quotas: "Quotas", payer: Payer, accounts: Sequence[_Account], turns: int) -> None:
        self._quotas = quotas
        self._payer = payer
        self._accounts = accounts
        self._turns = turns
        self._used: Counter[str] = Counter()
        self._is_open = True
        for account in accounts:
            account.meters += 1

    @property
    def is_limited(self) -> bool:
        """Whether anybody has to look while the answer is written."""
        return bool(self._accounts)

    async def use(self, tokens: int, cost: float) -> None:
        """The answer has used so much by now. Raises QuotaExceeded when that is all there is."""
        for kind, amount in (("tokens", tokens), ("cost", cost)):
            for account in self._accounts:
                account.running[kind] += amount - self._used[kind]  # type: ignore[assignment]
            self._used[kind] = amount  # type: ignore[assignment]
        await self._quotas.check(self._accounts)

    def close(self, tokens: int, cost: float) -> None:
        """The answer is over, and has used so much in all."""
        if not self._is_open:
            return
        self._is_open = False
        for account in self._accounts:
            account.running.subtract(self._used)
            account.meters -= 1
        self._quotas.charge(self._payer, tokens, cost, self._turns)


class Quotas:
    def __init__(self, rows: SpendingRepository, user_quota: Quota) -> None:
        self._rows = rows
        self._user_quota = user_quota
        self._accounts: dict[str, _Account] = {}
        self._pending: dict[str, Counter[str]] = {}
        self._until: dict[str, Any] = {}
        self._storing: asyncio.Task[None] | None = None
        self._is_closing = False

    async def admit(self, payer: Payer) -> None:
        """Raises QuotaExceeded when the payer has used everything, PyMongoError."""
        await self.check(self._accounts_of(payer))

    def meter(self, payer: Payer, *, turns: int = 1) -> Meter:
        """Of an answer that begins. `turns`: how many it is; none is what a turn leads to."""
        return Meter(self, payer, self._accounts_of(payer), turns)

    async def check(self, accounts: Sequence[_Account]) -> None:
        """Raises QuotaExceeded, PyMongoError."""
        if stale := [account for account in accounts if account.is_stale]:
            await self._read(stale)
        for account in accounts:
            account.check(self._pending)

    def charge(self, payer: Payer, tokens: int, cost: float, turns: int = 1) -> None:
        """Add what an answer has used; stored soon."""
        for period in periods_at(now()):
            for subject in _subjects(payer):
                id = period.id_of(subject)
                amounts = {"turns": turns, "tokens": tokens, "cost": cost}
                self._pending.setdefault(id, Counter()).update(amounts)
                self._until[id] = period.forgotten_at
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())

    async def usage(self, payer: Payer) -> dict[str, Any]:
        """What the user and the key have used, and what they may: by period. Raises PyMongoError."""
        periods = periods_at(now())
        ids = [period.id_of(subject) for period in periods for subject in _subjects(payer)]
        known = await self._rows.read(ids)
        shown = {}
        for subject, quota in _quotas(payer, self._user_quota):
            shown[subject.partition(":")[0]] = {
                period.name: self._shown(subject, quota, period, known.get(period.id_of(subject), {}))
                for period in periods
            }
        return {"user": shown["user"], "key": shown.get("key")}

    async def aclose(self) -> None:
        """Wait until everything is stored, or cannot be."""
        self._is_closing = True
        if self._storing is not None:
            await asyncio.wait({self._storing})  # cut off, a write might be made again

    def _shown(self, subject: str, quota: Quota, period: Period, stored: Mapping[str, Any]) -> dict[str, Any]:
        pending = self._pending.get(period.id_of(subject), _NOTHING)
        used = {kind: stored.get(kind, 0) + pending.get(kind, 0) for kind in ("turns", "tokens", "cost")}
        limits = {f"{kind}_limit": getattr(quota, f"{kind}_per_{period.name}") for kind in ("tokens", "cost")}
        return {"begins_at": period.begins_at, "ends_at": period.ends_at, **used, **limits}

    def _accounts_of(self, payer: Payer) -> list[_Account]:
        """Those that have a limit."""
        return [
            self._account(subject, quota)
            for subject, quota in _quotas(payer, self._user_quota)
            if any(limit is not None for _, limit in quota)
        ]

    def _account(self, subject: str, quota: Quota) -> _Account:
        account = self._accounts.get(subject)
        if account is None:
            self._accounts = {name: each for name, each in self._accounts.items() if each.meters or not each.is_stale}
            account = self._accounts[subject] = _Account(subject, quota)
        account.quota = quota
        return account

    async def _read(self, accounts: Sequence[_Account]) -> None:
        periods = periods_at(now())
        ids = {account.subject: [period.id_of(account.subject) for period in periods] for account in accounts}
        known = await self._rows.read([id for each in ids.values() for id in each])
        for account in accounts:
            account.stored = {id: known.get(id, _NOTHING) for id in ids[account.subject]}
            account.read_at = time.monotonic()

    async def _store_all(self) -> None:
        try:
            while self._pending:
                try:
                    await self._store()
                except PyMongoError as error:
                    logger.warning("spending_delayed", error=type(error).__name__, count=len(self._pending))
                    if self._is_closing:
                        return
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._storing = None

    async def _store(self) -> None:
        """Store what has come together; it counts as pending until it is stored."""
        batch = {id: Counter(amounts) for id, amounts in self._pending.items()}
        await self._rows.add([(id, amounts, self._until[id]) for id, amounts in batch.items()])
        for id, amounts in batch.items():
            self._note(id, amounts)
            self._pending[id].subtract(amounts)
            if not self._pending[id]["turns"]:
                del self._pending[id], self._until[id]

    def _note(self, id: str, amounts: Mapping[str, float]) -> None:
        """What was pending is stored now."""
        account = self._accounts.get(id.rpartition("@")[0])
        if account is not None and id in account.stored:
            earlier = account.stored[id]
            account.stored[id] = {kind: earlier.get(kind, 0) + amounts[kind] for kind in amounts}


def _subjects(payer: Payer) -> list[str]:
    keys = [] if payer.key_id is None else [f"key:{payer.key_id}"]
    return [f"user:{payer.user_id}", *keys]


def _quotas(payer: Payer, user_quota: Quota) -> list[tuple[str, Quota]]:
    return list(zip(_subjects(payer), (user_quota, payer.key_quota or Quota()), strict=False))


def _exceeded(subject: str, kind: str, limit: float, period: Period) -> QuotaExceeded:
    whose = "this key has" if subject.startswith("key:") else "you have"
    most = f"{limit:g} US dollars" if kind == "cost" else f"{limit} tokens"
    sentence = f"{most} a {period.name} are the most, and {whose} used them; more from {period.ends_at:%Y-%m-%d} (UTC)."
    seconds = ceil((period.ends_at - now()).total_seconds())
    return QuotaExceeded(sentence[0].upper() + sentence[1:], retry_after=max(1, seconds))
