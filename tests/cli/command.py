"""Running the command line: the console script itself, or the same application in one warm process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

SCRIPT = Path(sys.executable).with_name("verbatim")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    status: int
    stdout: str
    stderr: str


class Worker:
    """A process that runs one command after the other: a new one takes two seconds to import what it needs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, **job: Any) -> Done:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=10)


@dataclass(frozen=True)
class Verbatim:
    """The command line on one database."""

    worker: Worker
    uri: str
    database: str
    folder: Path

    def __call__(self, *arguments: str, status: int = 0, answers: str = "", **settings: str) -> Done:
        """Run `verbatim ARGUMENTS`; `answers` is typed, `settings` are more VERBATIM_ variables."""
        environment = self._environment(settings)
        done = self.worker.run(arguments=arguments, environment=environment, folder=str(self.folder), answers=answers)
        assert done.status == status, done
        return done

    def script(self, *arguments: str, **settings: str) -> Done:
        """Run the console script in a process of its own."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            env=os.environ | self._environment(settings),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def table(self, *arguments: str) -> list[list[str]]:
        """The cells of each row of the table that is printed."""
        return cells(self(*arguments).stdout)

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        given = {"mongo_uri": self.uri, "database": self.database, "data": str(self.folder), **settings}
        return {f"VERBATIM_{name.upper()}": value for name, value in given.items()}


def cells(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if line[:1] == "│"]


def _work() -> None:
    from app import cli

    jobs = sys.stdin
    answer = os.fdopen(os.dup(1), "w")
    for line in jobs:
        job = json.loads(line)
        os.chdir(job["folder"])
        result = CliRunner().invoke(cli._app, job["arguments"], input=job["answers"], env=job["environment"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        done = {"status": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
        answer.write(json.dumps(done) + "\n")
        answer.flush()


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("VERBATIM_")]:
        del os.environ[name]
    _work()
