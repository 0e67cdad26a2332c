"""A minute of `make chaos`: what it does in ten must be found by it to be right here too."""

import asyncio
import sys
from pathlib import Path

import pytest

from chaos.run import Options, run

pytestmark = [
    pytest.mark.mongod,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="who has opened a connection is read from /proc"),
]

ABLE = 2.0
FAULTS = ("primary-killed", "primary-isolated", "server-killed")


async def test_nothing_is_lost_doubled_or_reordered_whatever_dies(tmp_path: Path) -> None:
    verdict = await run(Options(faults=FAULTS, rounds=1, hold=0.4), tmp_path, print)

    calm = verdict.figures[0]
    # A machine that cannot even serve in peace within two seconds says nothing about how long anything takes.
    broken = [each for each in verdict.violations if each.kind != "failed" or calm.slowest < ABLE]
    assert broken == []
    assert {each.fault for each in verdict.figures} >= set(FAULTS)
    assert verdict.history.appends
    assert verdict.history.exports
    assert any(view.end == "turn.completed" for view in verdict.views)


async def test_its_options_are_told_by_its_help() -> None:
    for arguments in (["--help"], ["soak", "--help"]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chaos", *arguments, stdout=asyncio.subprocess.PIPE
        )
        text, _ = await process.communicate()
        assert process.returncode == 0
        assert b"--seed" in text
