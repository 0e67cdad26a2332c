"""One run: clients at work, one fault after the other, and then the proof."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.door import Door
from chaos.faults import FAULTS
from chaos.figures import Episode, Lag
from chaos.history import History
from chaos.load import Load
from chaos.stage import Stage, staged
from chaos.verdict import CALM, Evidence, Verdict, judge
from tests.faults.stories import asked
from tests.processes import ADMIN_KEY

_CALM_SECONDS = 4.0
_BETWEEN = (1.0, 3.0)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """`rounds`: each fault so many times, however long that takes; without, until `seconds` are over. `hold`: how long
    what is to last does, as a share of the usual time."""

    faults: Sequence[str] = tuple(FAULTS)
    seconds: float = 600.0
    rounds: int | None = None
    hold: float = 1.0
    seed: int = field(default_factory=lambda: secrets.randbits(32))


async def run(options: Options, folder: Path, say: Say) -> Verdict:
    """Do it and judge it; `folder` has to be new."""
    history, lag = History(), Lag()
    say(f"Seed {options.seed}. Starting three members and two servers ...")
    async with staged(folder, hold=options.hold, seed=options.seed) as stage, lag.watched():
        async with Door(history, stage.servers.urls, ADMIN_KEY) as door:
            load = Load(door, history, options.seed)
            began = time.monotonic()
            async with load.running():
                episodes = [episode async for episode in _episodes(stage, options, say)]
            say("Everybody has finished. Comparing ...")
        await stage.quiet()
        stored, questions = await stage.stored(), asked(stage.upstream)
    evidence = Evidence(
        began, episodes, history, load.ledger.views, load.transcripts, stored, questions, lag, stage.servers.faults
    )
    return await asyncio.to_thread(judge, evidence)


async def _episodes(stage: Stage, options: Options, say: Say) -> AsyncIterator[Episode]:
    """Inflict one fault after the other, and wait for each recovery; the first episode is without any."""
    until = time.monotonic() + options.seconds if options.rounds is None else float("inf")
    episode = Episode(CALM, time.monotonic())
    await asyncio.sleep(_CALM_SECONDS)
    episode.healed = episode.recovered = episode.ended = time.monotonic()
    yield episode
    for name in _order(options, stage.rng):
        if time.monotonic() > until:
            return
        episode = await _inflict(stage, name)
        await asyncio.sleep(stage.rng.uniform(*_BETWEEN))
        episode.ended = time.monotonic()
        took, more = episode.healed - episode.started, episode.recovered - episode.healed
        say(f"{name}: {took:.1f} s, recovered after {more:.1f} s more. {episode.error}")
        yield episode
        if episode.error:
            return


def _order(options: Options, rng: random.Random) -> Iterator[str]:
    """Every fault once, in any order, and again."""
    rounds = 0
    while options.rounds is None or rounds < options.rounds:
        yield from rng.sample(options.faults, len(options.faults))
        rounds += 1


async def _inflict(stage: Stage, name: str) -> Episode:
    stage.marks.clear()
    episode = Episode(name, time.monotonic())
    try:
        await FAULTS[name].inflict(stage)
        episode.healed = time.monotonic()
        await stage.recovered()
    except (TimeoutError, AssertionError) as error:
        episode.error = f"{type(error).__name__} {error}"
    episode.recovered = time.monotonic()
    episode.healed = episode.healed or episode.recovered
    episode.marks = dict(stage.marks)
    return episode
