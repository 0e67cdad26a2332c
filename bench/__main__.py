"""`python -m bench [MEASUREMENT ...]`: every measurement, or those that are named; tables in Markdown."""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from bson import ObjectId
from rich.console import Console
from rich.table import Table

from app.config import Settings
from app.database import Database, open_database
from app.migrations.runner import Migrations
from bench import followers, turns
from bench.arena import Arena, many_files
from bench.exports import EXPORTED, exports
from bench.peers import FakeUpstream, LiteLLM
from bench.rest import rest
from bench.scale import scale
from bench.search import DATA, MESSAGES, search
from bench.server import Server
from bench.sharding import sharding

LITELLM = "BENCH_LITELLM"

MEASUREMENTS: Mapping[str, Callable[[Arena], Awaitable[Sequence[Table]]]] = {
    "rest": rest,
    "exports": exports,
    "added": turns.added,
    "slow": turns.slow,
    "reuse": turns.reuse,
    "crowd": turns.crowd,
    "across": followers.across,
    "memory": followers.memory,
    "search": search,
    "scale": scale,
    "sharding": sharding,
}
_VARIABLES = f"""environment:
  {LITELLM}   path of LiteLLM's executable, which is else left out
  {EXPORTED}  how many messages to export
  {MESSAGES}  how many messages to search, such as 10000,100000,1000000
  {DATA}      folder of the transcripts they are made of"""
_WITH_LITELLM = frozenset(("added", "slow"))


async def run(names: Sequence[str]) -> None:
    """Take the measurements one after the other and print their tables."""
    console = Console(highlight=False, width=200)
    started = time.monotonic()
    with many_files(), tempfile.TemporaryDirectory(prefix="vb") as folder, ExitStack() as stack:
        data = Path(folder)
        async with open_database(Settings(_env_file=None, data=data)) as database:
            await Migrations(database).finish("expand", "migrate")
            upstream = stack.enter_context(FakeUpstream())
            litellm = None if _WITH_LITELLM.isdisjoint(names) else _litellm(console, data, upstream, stack)
            arena = Arena(console, data, database, await _admin(data, database), upstream, litellm)
            for name in names:
                load = os.getloadavg()[0]
                for table in await MEASUREMENTS[name](arena):
                    console.print()
                    console.print(table)
                console.print(f"Load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after.")
    console.print(f"\n{_machine()}; took {time.monotonic() - started:.0f} s. Compare the ratios, not the seconds.")


def _litellm(console: Console, folder: Path, upstream: FakeUpstream, stack: ExitStack) -> LiteLLM | None:
    path = os.environ.get(LITELLM)
    if path is None:
        console.print(f"LiteLLM's proxy is left out: {LITELLM} does not name its executable.")
        return None
    console.print("Starting LiteLLM ...", style="dim")
    return stack.enter_context(LiteLLM(Path(path), folder, upstream.base_url))


async def _admin(data: Path, database: Database) -> ObjectId:
    """The admin, whom the first start of a server makes."""
    async with Server(data):
        row = await database.client[database.name].users.find_one({"role": "admin"})
    assert row is not None
    id: ObjectId = row["_id"]
    return id


def _machine() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _parser() -> argparse.ArgumentParser:
    measurements = "\n".join(f"  {name:<8} {measure.__doc__}" for name, measure in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures Verbatim beside the bare driver, the bare upstream and LiteLLM's proxy.",
        epilog=f"measurements:\n{measurements}\n\n{_VARIABLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="MEASUREMENT", help="all of them when none is named")
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    if unknown := set(arguments.names) - set(MEASUREMENTS):
        _parser().error(f"there is no measurement {', '.join(sorted(unknown))}")
    uvloop.run(run(arguments.names or list(MEASUREMENTS)))
