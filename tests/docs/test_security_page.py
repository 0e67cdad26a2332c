"""docs/security.md: its tables name tests that are there, and every attack that it has to speak of."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
# What the page has to have a row for, by words of the row.
ATTACKS = {
    "operators of MongoDB in parameters": "operators of MongoDB in names and values of parameters",
    "operators of MongoDB in bodies": "operators in bodies",
    "mass assignment": "mass assignment",
    "ids of others": "somebody else's id in every path",
    "JWT: none and wrong algorithms": "`alg` none",
    "JWT: wrong kid": "`kid` unknown",
    "JWT: expired, other audience": "expired, not yet valid, other audience",
    "refresh replay": "a refresh token stolen and replayed",
    "timing": "an unknown user against a wrong password",
    "enumeration": "(enumeration)",
    "CSV formulas": "formulas in exports",
    "XSS": "scripts (XSS)",
    "SSRF: rebinding": "(DNS rebinding)",
    "SSRF: redirects": "SSRF: redirects",
    "SSRF: odd addresses": "IPv6, mapped, decimal",
    "WebSocket from a foreign Origin": "a page of another site that opens one",
    "request smuggling": "request smuggling",
    "oversize and slow": "slow bodies, oversize",
    "path traversal": "paths that climb out of downloads",
    "ReDoS": "patterns that search for ever",
}


def rows() -> list[tuple[str, str, str]]:
    """Attack, what holds, tests: of each table that has these columns; "the same" is what the row before says."""
    found: list[tuple[str, str, str]] = []
    tables = re.findall(r"^\| (?:attack|risk) \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    for line in "".join(tables).splitlines():
        attack, holds, proof = (cell.strip() for cell in line.strip("|").split(" | "))
        found.append((attack, holds, found[-1][2] if proof == "the same" else proof))
    return found


def files_of(proof: str) -> list[Path]:
    """The files and folders that a cell names; a bare name is in the folder of the one before."""
    paths: list[Path] = []
    for name in re.findall(r"`([^`]+)`", proof):
        paths.append(ROOT / name if "/" in name else paths[-1].parent / name)
    return paths


def test_the_page_has_its_tables() -> None:
    assert len(rows()) > 60
    assert sum(attack.startswith("API") for attack, _, _ in rows()) == 10


@pytest.mark.parametrize(("attack", "proof"), [(attack, proof) for attack, _, proof in rows()])
def test_each_row_names_tests_that_are_there(attack: str, proof: str) -> None:
    files = files_of(proof)

    assert files, f"{attack}: no test"
    for file in files:
        assert file.exists(), f"{attack}: {file}"
        assert file.is_dir() or file.name == "upstream.py" or "def test_" in file.read_text(), f"{attack}: {file}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_its_row(attack: str) -> None:
    assert any(ATTACKS[attack] in row for row, _, _ in rows())
