"""`python -m chaos soak`: the same clients for long, without a fault, while it is looked at what the processes hold.

A figure grows when a straight line through its second half rises by more than its limit and more than noise does. By
then caches are warm and pools are full.
"""

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.tables import table
from chaos.door import Door
from chaos.figures import Lag
from chaos.history import History
from chaos.load import Load
from chaos.report import machine
from chaos.run import Say
from chaos.samples import LIMITS, Figures, sample
from chaos.stage import Stage, staged
from chaos.trend import Trend, trend
from chaos.verdict import Evidence, Verdict, judge
from tests.faults.stories import asked
from tests.processes import ADMIN_KEY

_INTERVAL = 5.0
_FEWEST = 6
"""Samples of the second half, from which something can be said."""

Sample = tuple[float, Mapping[str, Figures]]
"""When it was taken, in seconds since the beginning, and the figures of each process."""


@dataclass(frozen=True)
class Held:
    """One figure of one process over the second half."""

    process: str
    figure: str
    first: float
    last: float
    trend: Trend
    is_flat: bool


async def soak(seconds: float, seed: int, folder: Path, say: Say) -> tuple[Verdict, Sequence[Sample]]:
    """Let the clients work for so long; `folder` has to be new."""
    history, lag = History(), Lag()
    async with staged(folder, hold=1.0, seed=seed) as stage, lag.watched():
        async with Door(history, stage.servers.urls, ADMIN_KEY) as door:
            load = Load(door, history, seed)
            began = time.monotonic()
            async with load.running():
                samples = await _watch(stage, seconds, say)
        await stage.quiet()
        stored, questions = await stage.stored(), asked(stage.upstream)
    evidence = Evidence(
        began, [], history, load.ledger.views, load.transcripts, stored, questions, lag, stage.servers.faults
    )
    return await asyncio.to_thread(judge, evidence), samples


async def _watch(stage: Stage, seconds: float, say: Say) -> Sequence[Sample]:
    began, samples = time.monotonic(), list[Sample]()
    while (now := time.monotonic() - began) < seconds:
        samples.append((now, await sample(stage)))
        if len(samples) % 12 == 1:
            say(f"{now / 60:.0f} min: {_brief(samples[-1][1])}")
        await asyncio.sleep(min(_INTERVAL, seconds / (2 * _FEWEST + 2)))
    return samples


def _brief(figures: Mapping[str, Figures]) -> str:
    servers = ((name, of) for name, of in figures.items() if name.startswith("server"))
    return "; ".join(
        f"{name}: " + ", ".join(f"{what} {value:.0f}" for what, value in of.items()) for name, of in servers
    )


def held(samples: Sequence[Sample]) -> list[Held]:
    """Each figure of each process over the second half."""
    half = samples[len(samples) // 2 :]
    return [_held(half, process, figure) for process, figures in half[0][1].items() for figure in figures]


def _held(half: Sequence[Sample], process: str, figure: str) -> Held:
    values = [figures[process][figure] for _, figures in half]
    line, limit = trend([at for at, _ in half], values), LIMITS[figure]
    is_excused = process.startswith("member") and not limit.mongod
    return Held(process, figure, values[0], values[-1], line, is_excused or line.is_flat(limit.share, limit.amount))


def _table(every: Sequence[Held]) -> Table:
    made = table(
        "The second half: does it grow?",
        "process",
        "figure",
        "first",
        "last",
        "mean",
        "growth",
        "+-",
        "verdict",
        names=2,
    )
    for each in every:
        numbers = (each.first, each.last, each.trend.mean, each.trend.growth, each.trend.error)
        made.add_row(each.process, each.figure, *(f"{number:.1f}" for number in numbers), _word(each))
    return made


def _word(each: Held) -> str:
    if each.process.startswith("member") and not LIMITS[each.figure].mongod:
        return "its cache"
    return "flat" if each.is_flat else "GROWS"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="[30]")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="[random]")
    parser.add_argument("--report", type=Path, default=Path("soak.json"), help="where the report goes [soak.json]")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, width=160)
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        work = soak(given.minutes * 60, given.seed, Path(folder), lambda line: console.print(line, style="dim"))
        verdict, samples = asyncio.run(work)
    every = held(samples)
    console.print(_table(every))
    for violation in verdict.violations:
        console.print(str(violation)[:2000], style="bold red")
    is_well = not verdict.violations and all(each.is_flat for each in every)
    report = {"seed": given.seed, "machine": machine(), "held": [asdict(each) for each in every], "samples": samples}
    given.report.write_text(json.dumps({**report, "violations": [str(each) for each in verdict.violations]}, indent=1))
    console.print(f"{len(verdict.history.requests):,} requests in {verdict.seconds / 60:.0f} min. {machine()}.")
    return 0 if is_well else 1
