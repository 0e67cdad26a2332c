"""`python -m chaos`: kill, hang and cut off what clients depend on, and prove that they lose nothing.
`python -m chaos soak`: do nothing to it for long, and see whether anything grows."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from chaos import report, soak
from chaos.faults import FAULTS
from chaos.run import Options, run


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name:<22} {fault.meaning}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Clients write, ask, read and export through two servers on three members while faults happen;"
        " then what they were told is compared with what is stored. Needs Linux.",
        epilog=f"faults:\n{faults}\n\nWithout faults, for long: python -m chaos soak --help\n"
        "\nIt ends with 1 when a promise was broken, with 2 when a goal of time was missed"
        " under --strict, else with 0.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=_positive, default=600.0, help="no new fault begins after so long [600]")
    parser.add_argument("--rounds", type=int, help="inflict each fault so many times instead, however long it takes")
    parser.add_argument("--faults", type=_names, default=tuple(FAULTS), metavar="A,B", help="only these [all]")
    parser.add_argument(
        "--hold", type=_positive, default=1.0, help="how long hung, cut off and absent things stay so, as a share [1]"
    )
    parser.add_argument("--seed", type=int, help="of all that is random, to do the same again [random]")
    parser.add_argument("--data", type=Path, help="a new folder for data and logs, which stays [a temporary one]")
    parser.add_argument("--report", type=Path, default=Path("chaos.json"), help="where the report goes [chaos.json]")
    parser.add_argument("--strict", action="store_true", help="goals of time count, too: for a quiet machine")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(FAULTS):
        raise argparse.ArgumentTypeError(f"there is no fault {', '.join(sorted(unknown))}")
    return names


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("has to be more than 0")
    return value


def main() -> int:
    if sys.argv[1:2] == ["soak"]:
        return soak.main(sys.argv[2:])
    given = vars(_parser().parse_args())
    path, is_strict, data = given.pop("report"), given.pop("strict"), given.pop("data")
    options = Options(**{name: value for name, value in given.items() if value is not None})
    console = Console(highlight=False, width=240)
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        verdict = asyncio.run(run(options, data or Path(folder), lambda sentence: console.print(sentence, style="dim")))
    report.show(verdict, console)
    report.write(verdict, options, path)
    if verdict.violations:
        return 1
    return 2 if is_strict and verdict.missed else 0


if __name__ == "__main__":
    sys.exit(main())
