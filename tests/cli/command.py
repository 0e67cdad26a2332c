"""Running the console script as its users do: in a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

VERBATIM = Path(sys.executable).with_name("verbatim")


@dataclass(frozen=True)
class Verbatim:
    """The command line on one database."""

    uri: str
    database: str
    folder: Path

    def __call__(
        self, *arguments: str, status: int = 0, answers: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `verbatim ARGUMENTS`; `answers` is typed, `settings` are more VERBATIM_ variables."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
        environment |= {
            "VERBATIM_MONGO_URI": self.uri,
            "VERBATIM_DATABASE": self.database,
            "VERBATIM_DATA": str(self.folder),
            **{f"VERBATIM_{name.upper()}": value for name, value in settings.items()},
        }
        done = subprocess.run(
            [VERBATIM, *arguments],
            env=environment,
            cwd=self.folder,
            input=answers,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def table(self, *arguments: str) -> list[list[str]]:
        """The cells of each row of the table that is printed."""
        lines = self(*arguments).stdout.splitlines()
        return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
