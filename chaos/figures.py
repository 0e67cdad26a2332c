"""What a fault cost the clients, from what they noted: how long nothing was confirmed, what failed, what took long."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.history import History, Request

WRITES = frozenset(("append", "ask"))
_LOOK = 0.02


@dataclass
class Episode:
    """One fault: inflicted from `started` to `healed`, and borne until `recovered`; the next one begins at `ended`.
    `marks`: what else happened when; `error`: why the stage did not recover."""

    fault: str
    started: float
    healed: float = 0.0
    recovered: float = 0.0
    ended: float = 0.0
    marks: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Figures:
    """Seconds and counts. `stall`: the longest time in which no write was confirmed; `slowest`: of the requests that
    succeeded; `interrupted`: answers that did not come whole; `lag`: how late the clients themselves were at most."""

    fault: str
    started: float
    stall: float
    slowest: float
    requests: int
    failed: int
    interrupted: int
    lag: float
    healthy_after: float
    back_after: float | None = None


class Lag:
    """How late this process itself is: what its clients measure is not to be blamed on the servers."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + _LOOK
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            self._late.append((now, now - due))

    def worst(self, since: float, until: float) -> float:
        return max((late for at, late in self._late if since <= at <= until), default=0.0)


def figures_of(episode: Episode, history: History, lag: Lag, began: float, back: str) -> Figures:
    """`began`: when the run did; `back`: the mark from which on recovery is counted."""
    inside = [each for each in history.requests if episode.started <= each.ended <= episode.ended]
    answered = [each for each in inside if each.kind != "turn"]
    slowest = max((each.ended - each.started for each in answered if not each.failure), default=0.0)
    confirmed = _confirmed(history.requests)
    since = episode.marks.get(back)
    next_one = next((at for at in confirmed if since is not None and at > since), None)
    return Figures(
        fault=episode.fault,
        started=episode.started - began,
        stall=_stall(confirmed, episode),
        slowest=slowest,
        requests=len(answered),
        failed=sum(bool(each.failure) for each in answered),
        interrupted=sum(bool(each.failure) for each in inside if each.kind == "turn"),
        lag=lag.worst(episode.started, episode.ended),
        healthy_after=episode.recovered - episode.healed,
        back_after=None if since is None or next_one is None else next_one - since,
    )


def _confirmed(requests: Sequence[Request]) -> Sequence[float]:
    return sorted(each.ended for each in requests if each.kind in WRITES and not each.failure)


def _stall(confirmed: Sequence[float], episode: Episode) -> float:
    """The longest pause between two confirmed writes that the fault has to do with."""
    edges = [episode.started, *(at for at in confirmed if episode.started < at < episode.ended), episode.ended]
    return max(later - earlier for earlier, later in pairwise(edges))
