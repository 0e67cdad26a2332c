"""The check of what is installed, and the audit: what they say, also where nobody can be asked."""

import json
import os
import stat
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/dependencies.py"
ANSWER = """#!/bin/sh
while [ "$1" != --output ]; do shift; done
cp {answer} "$2"
exit 1
"""


@pytest.fixture
def dependencies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which reads a copy of the pins."""
    spec = spec_from_file_location("dependencies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    pins = tmp_path / "constraints.txt"
    pins.write_text(module.CONSTRAINTS.read_text())
    monkeypatch.setattr(module, "CONSTRAINTS", pins)
    return module


def auditor(folder: Path, *packages: Mapping[str, Any]) -> str:
    """A pip-audit that says this."""
    answer, program = folder / "said.json", folder / "pip-audit"
    answer.write_text(json.dumps({"dependencies": list(packages), "fixes": []}))
    program.write_text(ANSWER.format(answer=answer))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_what_is_installed_here_is_what_is_pinned(dependencies: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert dependencies.main([]) == 0, capsys.readouterr().out


def test_a_missing_pin_and_another_version_are_named(
    dependencies: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = dependencies.CONSTRAINTS.read_text().splitlines()
    kept = [line for line in pins if not line.startswith(("anyio==", "h11=="))]
    dependencies.CONSTRAINTS.write_text("\n".join([*kept, "h11==0.0.1"]))

    assert dependencies.main([]) == 1
    said = capsys.readouterr().out
    assert "anyio" in said
    assert "has no pin" in said
    assert "h11 is pinned to 0.0.1" in said


@pytest.mark.parametrize("licence", ["", "GPL-3.0-or-later", "MIT AND LGPL-2.1-only", "All rights reserved"])
def test_a_licence_that_nobody_has_looked_at_is_a_fault(
    dependencies: ModuleType, licence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dependencies, "_licence", lambda found: licence if found.name == "anyio" else "MIT")

    assert dependencies.main([]) == 1
    assert capsys.readouterr().out.startswith("constraints.txt: anyio has a licence")


def test_a_known_weakness_fails_the_audit(
    dependencies: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = {"name": "h11", "version": "0.14", "vulns": [{"id": "CVE-2025-1", "fix_versions": ["0.16"]}]}
    sound = {"name": "anyio", "version": "4", "vulns": []}

    assert dependencies.main(["audit", auditor(tmp_path, weak, sound)]) == 1
    said = capsys.readouterr().out
    assert "h11 0.14: CVE-2025-1, mended in 0.16" in said
    assert "2 pinned packages were audited" in said


@pytest.mark.parametrize("packages", [[], [{"name": "h11", "skip_reason": "not found"}]], ids=["none", "unknown"])
def test_an_audit_that_could_ask_nobody_says_so(
    dependencies: ModuleType, tmp_path: Path, packages: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dependencies.main(["audit", auditor(tmp_path, *packages)]) == 0
    assert capsys.readouterr().out.startswith("SKIPPED")


def test_an_audit_without_its_program_says_so(dependencies: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert dependencies.main(["audit", os.devnull]) == 0
    assert capsys.readouterr().out.startswith("SKIPPED")
