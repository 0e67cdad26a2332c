"""docker-compose.yml and what is laid over it: of the Compose specification, and what they name is there."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from compose_spec import PyCompose

from app.cli import _app
from app.config import Settings
from app.mongod.certificates import TlsFiles
from app.mongod.initiation import ELECTION_TIMEOUT

ROOT = Path(__file__).parents[2]
TLS = "deploy/compose.tls.yml"
REPLACED = frozenset(("command", "test"))
"""Lists of which Compose takes the later one; others it joins."""
JOBS = frozenset(("mongo-key", "mongo-init", "mongo-light-init", "mongo-tls"))
"""Services that do something once and end."""


def _compose() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def _tls() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((ROOT / TLS).read_text()))


def _over(name: str, lower: Any, upper: Any) -> Any:
    """One Compose file over another."""
    if isinstance(lower, dict) and isinstance(upper, dict):
        both = {key: _over(key, lower[key], upper[key]) for key in lower.keys() & upper.keys()}
        return {**lower, **upper, **both}
    if isinstance(lower, list) and name not in REPLACED:
        return [*lower, *upper]
    return upper


def _with_tls() -> dict[str, Any]:
    return cast("dict[str, Any]", _over("", _compose(), _tls()))


def _specified(compose: dict[str, Any]) -> PyCompose:
    """As the specification reads it, with the defaults of variables; raises ValueError."""
    read = PyCompose.from_json(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(compose)))
    read.validate()
    return read


@pytest.mark.parametrize("compose", [_compose(), _with_tls()], ids=["usual", "with TLS"])
def test_compose_files_are_of_the_specification(compose: dict[str, Any]) -> None:
    assert set(_specified(compose).service_names()) == set(compose["services"])
    for service in compose["services"].values():
        named = {each.partition(":")[0] for each in service.get("volumes", ()) if not each.startswith(".")}
        assert named <= compose["volumes"].keys()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "readonly: true"),
        ("condition: service_healthy", "condition: healthy"),
        ("interval: 5s", "interval: soon"),
        ("restart: unless-stopped", "restart: sometimes"),
        ("secrets: [verbatim_mongo_password", "secrets: [verbatim_password"),
    ],
)
def test_the_specification_refuses_what_docker_would(right: str, wrong: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert right in text

    with pytest.raises(ValueError, match=r"\w"):
        _specified(yaml.safe_load(text.replace(right, wrong)))


def test_with_tls_members_run_as_before_and_speak_nothing_else() -> None:
    usual, secured = _compose()["services"], _with_tls()["services"]
    options = TlsFiles(Path("/tls/ca.pem"), Path("/tls/member.pem")).options
    pairs = re.findall(r"(--\S+)(?: ([^-\s]\S*))?", " ".join(options))
    spoken = ["=".join(filter(None, pair)) for pair in pairs]
    members = [name for name, service in usual.items() if service.get("command", [""])[0] == "mongod"]

    assert members == ["mongo1", "mongo2", "mongo3", "mongo-light"]
    (maker,) = [each["command"] for each in secured.values() if "make-certificates" in each.get("command", ())]
    for name in members:
        assert secured[name]["command"] == [*usual[name]["command"], *spoken]
        assert name in maker
        assert "--tls" in secured[name]["healthcheck"]["test"]
    for name, service in secured.items():
        if "VERBATIM_MONGO_URI" in service.get("environment", ()):
            before = usual[name]["environment"]["VERBATIM_MONGO_URI"]
            assert service["environment"]["VERBATIM_MONGO_URI"] == f"{before}&tls=true&tlsCAFile=/tls/ca.pem"
            assert "tls:/tls:ro" in service["volumes"]
        if "init-replica-set" in service.get("command", ()):
            assert service["command"] == [*usual[name]["command"], "--tls-ca", "/tls/ca.pem"]


def test_members_are_as_the_guide_asks_for() -> None:
    """Short elections (init-replica-set sees to them), short transactions, who comes is asked, no scripts."""
    assert ELECTION_TIMEOUT == 2000
    for name, service in _compose()["services"].items():
        if service.get("command", [""])[0] != "mongod":
            continue
        assert {"--replSet=rs0", "--keyFile=/keys/key", "--noscripting"} <= set(service["command"]), name
        assert "--setParameter=transactionLifetimeLimitSeconds=5" in service["command"]
        assert "ports" not in service


def test_the_image_is_small_and_nobodys() -> None:
    _, building, image = (ROOT / "Dockerfile").read_text().split("\nFROM ")

    assert "pip install" in building  # what builds is left behind
    assert "pip install" not in image
    assert "COPY --from=build" in image
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", image, re.MULTILINE)
    assert "HEALTHCHECK" in image


def test_compose_is_what_the_guide_says() -> None:
    services = _compose()["services"]
    usual = {name for name, service in services.items() if "profiles" not in service}

    assert usual == {"mongo-key", "mongo1", "mongo2", "mongo3", "mongo-init", "api1", "api2", "proxy"}
    assert services.keys() - usual == {"mongo-light", "mongo-light-init", "api-light"}
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"proxy": ["127.0.0.1:8000:8000"], "api-light": ["127.0.0.1:8000:8000"]}
    for server in ("api1", "api2", "api-light"):
        for name in services[server]["environment"]:
            assert name.removeprefix("VERBATIM_").lower() in Settings.model_fields, name
        assert services[server]["read_only"]
        assert services[server]["cap_drop"] == ["ALL"]


def test_every_process_of_compose_comes_back_and_is_bounded() -> None:
    for name, service in _with_tls()["services"].items():
        if name in JOBS:
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        # The image of the servers has its own check, in the Dockerfile.
        assert "healthcheck" in service or service["image"] == "verbatim", name


def test_secrets_of_compose_are_files_that_the_script_makes_and_the_settings_read() -> None:
    compose = _compose()
    script = (ROOT / "deploy" / "make-secrets.sh").read_text()
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert name.removeprefix("verbatim_") in Settings.model_fields
        assert f" {name}" in script
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= compose["secrets"].keys()
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_commands_of_compose_are_there() -> None:
    names = {command.name for command in _app.registered_commands}
    commands = [
        service["command"]
        for compose in (_compose(), _tls())
        for service in compose["services"].values()
        if service.get("command", [""])[0] == "verbatim"
    ]

    assert len(commands) == 5
    assert {command[1] for command in commands} <= names


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker")
@pytest.mark.parametrize("files", [(), ("-f", "docker-compose.yml", "-f", TLS)], ids=["usual", "with TLS"])
def test_docker_reads_the_compose_files(files: tuple[str, ...]) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this docker has no compose")
    done = subprocess.run(
        ["docker", "compose", *files, "config", "-q"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
