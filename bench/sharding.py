"""Where rows and writes go for each candidate of a shard key: simulated, since a cluster is no test's business.

MongoDB cuts the keys of a collection into ranges of at most a size and keeps about as many bytes of them on each shard.
A range cannot be cut within one key. What arrives is written wherever its range lies at that moment. So the simulation
goes day by day: the day's messages are written, then ranges that grew too large are cut, then the balancer moves ranges
from the fullest to the emptiest shard, as many as it may in a day.

The skew is that of the data: conversations are as long as real ones, few people write most, and who has more goes on
writing more. Time is simulated; equal seeds give equal numbers.
"""

import gzip
import hashlib
import json
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, count
from pathlib import Path

from rich.table import Table

from bench.arena import Arena
from bench.search import transcripts
from bench.tables import table

SHARDS = 4
LARGEST = 1000
"""Rows of a range that is not cut: 128 MB would be a hundred thousand or so; the traffic is smaller likewise."""
SKEWS: Mapping[str, float] = {"people, the first writes 8 %": 0.9, "one account writes 38 %": 1.5}
"""Exponents of how much less the n-th owner writes than the first."""
MOVED_A_DAY = 40
"""Ranges that the balancer moves: it moves one at a time between two shards and yields to the load."""
DAYS = 30


@dataclass(frozen=True)
class Written:
    """One message: its owner, its conversation and its number in time."""

    owner: int
    conversation: int
    at: int


Key = Callable[[Written], int]


@cache
def _hashed(number: int) -> int:
    return int.from_bytes(hashlib.md5(number.to_bytes(8, "big"), usedforsecurity=False).digest()[:8], "big")


CANDIDATES: Mapping[str, Key] = {
    "conversation, hashed": lambda row: _hashed(row.conversation),
    "owner, hashed": lambda row: _hashed(row.owner),
    "conversation, in order of its id": lambda row: row.conversation,
    "time": lambda row: row.at,
}


@dataclass
class Range:
    """The keys from `begin` on, up to the next range's; its rows by key."""

    begin: int
    shard: int
    rows: Counter[int] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        return self.rows.total()

    def cut(self, begin: int, keys: Iterable[int]) -> "Range":
        """The upper part as a range of its own."""
        return Range(begin, self.shard, Counter({key: self.rows.pop(key) for key in keys}))


class Cluster:
    def __init__(self, shards: int, largest: int, *, presplit: bool) -> None:
        """`largest`: rows of a range that is not cut. `presplit`: the space of hashes is dealt out beforehand, as
        MongoDB does for a hashed key."""
        self.shards = shards
        self._largest = largest
        parts = shards * 2 if presplit else 1
        self.ranges = [Range((number << 64) // parts, number % shards) for number in range(parts)]

    def write(self, key: int) -> int:
        """The shard that has it."""
        found = self.ranges[bisect_right(self.ranges, key, key=lambda each: each.begin) - 1]
        found.rows[key] += 1
        return found.shard

    def settle(self) -> None:
        """Cut what grew too large, then let the balancer work for a day."""
        self.ranges = [part for each in self.ranges for part in self._cut(each)]
        for _ in range(MOVED_A_DAY):
            if not self._move():
                return

    def sizes(self) -> list[int]:
        """Rows on each shard."""
        totals = [0] * self.shards
        for each in self.ranges:
            totals[each.shard] += each.size
        return totals

    def _cut(self, whole: Range) -> list[Range]:
        parts = [whole]
        while parts[-1].size > self._largest and len(parts[-1].rows) > 1:
            last = parts[-1]
            keys = sorted(last.rows)
            sums = list(accumulate(last.rows[key] for key in keys))
            index = max(1, bisect_right(sums, self._largest))
            if index >= len(keys):
                break
            parts.append(last.cut(keys[index], keys[index:]))
        return parts

    def _move(self) -> bool:
        """Move the range that evens the fullest and the emptiest shard out best; whether there is one."""
        totals = self.sizes()
        fullest, emptiest = totals.index(max(totals)), totals.index(min(totals))
        excess = totals[fullest] - totals[emptiest]
        if excess <= 3 * self._largest:  # MongoDB's own threshold
            return False
        movable = [each for each in self.ranges if each.shard == fullest and 0 < each.size <= self._largest]
        if not movable:
            return False  # what is there cannot be cut, and is too large to be moved
        max(movable, key=lambda each: each.size).shard = emptiest
        return True


@dataclass(frozen=True)
class Outcome:
    """Of one candidate. `fullest`: rows of the fullest shard as a multiple of the mean. `hottest`: share of a day's
    writes that the busiest shard took, the median day. `uncut`: the largest range that cannot be cut, as a multiple of
    the size at which others are. `transcript`, `own`: shards that hold a conversation's messages, and an owner's (mean,
    weighted by rows)."""

    fullest: float
    hottest: float
    uncut: float
    transcript: float
    own: float


def simulate(days: Sequence[Sequence[Written]], key: Key, *, shards: int, largest: int, presplit: bool) -> Outcome:
    """Write the days one after the other."""
    cluster = Cluster(shards, largest, presplit=presplit)
    hottest = []
    for day in days:
        writes = Counter(cluster.write(key(row)) for row in day)
        hottest.append(max(writes.values()) / len(day))
        cluster.settle()
    sizes = cluster.sizes()
    place = _placed(cluster, key)
    rows = [row for day in days for row in day]
    return Outcome(
        fullest=max(sizes) * shards / sum(sizes),
        hottest=sorted(hottest)[len(hottest) // 2],
        uncut=max((each.size for each in cluster.ranges if len(each.rows) == 1), default=0) / largest,
        transcript=_spread((row.conversation, place(row)) for row in rows),
        own=_spread((row.owner, place(row)) for row in rows),
    )


def _placed(cluster: Cluster, key: Key) -> Callable[[Written], int]:
    begins = [each.begin for each in cluster.ranges]
    return lambda row: cluster.ranges[bisect_right(begins, key(row)) - 1].shard


def _spread(pairs: Iterable[tuple[int, int]]) -> float:
    shards: dict[int, set[int]] = {}
    rows: Counter[int] = Counter()
    for whose, shard in pairs:
        shards.setdefault(whose, set()).add(shard)
        rows[whose] += 1
    return sum(len(shards[whose]) * number for whose, number in rows.items()) / rows.total()


async def sharding(arena: Arena) -> Sequence[Table]:
    """A simulation: where rows and writes go for each candidate of a shard key."""
    try:
        real = lengths(transcripts())
    except FileNotFoundError as error:
        arena.console.print(str(error))
        return []
    made = table(
        f"{SHARDS} shards, {DAYS} days; at best the fullest is 1.00 and the hottest {100 // SHARDS} %",
        *("who writes", "shard key of messages", "fullest shard", "hottest shard's writes", "largest uncut range"),
        *("shards of a transcript", "of an owner's list"),
        names=2,
    )
    for who, exponent in SKEWS.items():
        days = traffic(real, owners=2000, messages=150_000, exponent=exponent)
        for name, key in CANDIDATES.items():
            outcome = simulate(days, key, shards=SHARDS, largest=LARGEST, presplit="hashed" in name)
            made.add_row(
                *(who, name, f"{outcome.fullest:.2f}", f"{outcome.hottest:.0%}", f"{outcome.uncut:.2f}"),
                *(f"{outcome.transcript:.2f}", f"{outcome.own:.2f}"),
            )
    return [made]


def lengths(folder: Path) -> list[int]:
    """How many messages real conversations have, of the transcripts in a folder; raises FileNotFoundError."""
    found = []
    for file in sorted(folder.glob("transcripts-*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            found += [len(json.loads(line)["messages"]) for line in lines]
    if not found:
        raise FileNotFoundError(f"there are no transcripts in {folder}")
    return found


def traffic(
    lengths_: Sequence[int], *, owners: int, messages: int, exponent: float = 0.9, seed: int = 5
) -> list[list[Written]]:
    """`DAYS` days of messages: the n-th owner writes about 1/n**exponent as much as the first, in conversations as long
    as the given ones, which go on for some days."""
    dice = random.Random(seed)
    shares = list(accumulate((number + 1) ** -exponent for number in range(owners)))
    numbers, clock = count(), count()
    open_: list[list[int]] = []  # owner, conversation, messages still to come
    days = []
    for _ in range(DAYS):
        day: list[Written] = []
        while len(day) < messages // DAYS:
            if not open_ or dice.random() < 0.5:
                owner = bisect_right(shares, dice.random() * shares[-1])
                open_.append([owner, next(numbers), dice.choice(lengths_)])
            index = dice.randrange(max(0, len(open_) - 500), len(open_))
            now = open_[index]
            some = min(now[2], 2 * dice.randint(1, 4))
            day += [Written(now[0], now[1], next(clock)) for _ in range(some)]
            now[2] -= some
            if now[2] <= 0:
                open_[index] = open_[-1]
                open_.pop()
        days.append(day)
    return days
