"""The documentation says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.auth.permissions import MEANINGS, PARTS
from app.cli import _app
from app.config import Settings
from app.kit.problems import _DESCRIPTIONS
from app.main import build_app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])


def test_every_setting_and_no_other_is_in_the_example() -> None:
    named = re.findall(r"^#?(VERBATIM_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert sorted(named) == sorted(f"VERBATIM_{name.upper()}" for name in Settings.model_fields)


def test_the_example_shows_the_defaults() -> None:
    lines = re.findall(r"^#VERBATIM_(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    shown = {name.lower(): value for name, value in lines}
    examples = {
        "mongo_uri",
        "mongo_user",
        "mongo_password",
        "mongo_admin_password",
        "mongod",
        "bootstrap_key",
        "token_secret",
        "oidc",
        "metrics_key",
        "helper_model",
        "log_file",
        "otel_endpoint",
    }

    for name, field in Settings.model_fields.items():
        if name in examples:
            continue
        default = field.get_default(call_default_factory=True)
        expected = json.dumps(default) if isinstance(default, bool | dict) else str(default)
        assert shown[name] == expected, name


def test_every_scope_is_in_the_guide_with_its_meaning() -> None:
    told = re.findall(
        r"^\| `([a-z:]+)` \| (?:`([a-z]+)`)? ?\| (.+) \|$", (ROOT / "docs/rest.md").read_text(), re.MULTILINE
    )
    whole_of = {part: whole for whole, parts in PARTS.items() for part in parts}

    assert [row for row in told if row[0] in MEANINGS] == [
        (scope, whole_of.get(scope, ""), meaning) for scope, meaning in MEANINGS.items()
    ]


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def _commands(command: Any, path: str = "verbatim") -> list[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    return [(path, command), *(each for name, child in children.items() for each in _commands(child, f"{path} {name}"))]


@pytest.mark.parametrize(("path", "command"), _commands(get_command(_app)))
def test_every_command_and_option_has_help(path: str, command: Any) -> None:
    assert command.help, path
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{path} {parameter.name}"


def test_commands_that_the_pages_name_exist() -> None:
    known = {path for path, _ in _commands(get_command(_app))}
    for page in PAGES:
        for words in re.findall(
            r"verbatim ((?:user|key) [a-z]+|serve|import|export|doctor|reindex|openapi)\b", page.read_text()
        ):
            assert f"verbatim {words}" in known, f"{page.name}: verbatim {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, anchor


def test_the_openapi_snapshot_is_current() -> None:
    """After a wanted change: .venv/bin/verbatim openapi > docs/openapi.json"""
    settings = Settings(_env_file=None)

    assert json.loads((ROOT / "docs/openapi.json").read_text()) == build_app(settings).openapi()


def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    document = build_app(Settings(_env_file=None)).openapi()

    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        place = document
        for name in reference.split("/"):
            assert name in place, reference
            place = place[name]


def test_every_path_that_the_guide_names_is_in_openapi() -> None:
    paths = set(build_app(Settings(_env_file=None)).openapi()["paths"])
    guide = (ROOT / "docs/rest.md").read_text()

    for path in ("/api/users", "/api/conversations/{id}/turns", "/api/messages", "/api/keys", "/health/ready"):
        assert path in paths
        assert path in guide


def test_every_error_code_is_in_the_guide() -> None:
    guide = (ROOT / "docs/rest.md").read_text()

    for code in _codes():
        assert f"`{code}`" in guide, code
    assert all(f"| {status} |" in guide for status in _DESCRIPTIONS if status != 415)


def _codes() -> set[str]:
    from app.kit import errors

    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.VerbatimError)
    ]
    return {each.code for each in classes if each is not errors.VerbatimError}


def test_constraints_pin_every_dependency_without_an_address() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0].lower()) for line in lines}
    wanted = re.findall(r'^  "([A-Za-z0-9_.-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    dependencies = {each.lower() for each in wanted} & pinned
    assert {
        "fastapi",
        "beanie",
        "pymongo",
        "pydantic",
        "openpyxl",
        "httpx",
        "pytest",
        "mongomock-motor",
    } <= dependencies
