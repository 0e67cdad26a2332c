"""The manifests of deploy/kubernetes: of Kubernetes' own schemas, and what they name is there.

Kustomize is not needed to check what is written: base, components and overlay are plain objects. Where `kubectl` or
`kustomize` is installed, what they make of the example is checked as well.
"""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import pytest
import yaml

from app.api.metrics import METRICS_PATH
from app.cli import _app
from app.config import SECRETS_VARIABLE, Settings
from app.kit.streaming import KEEP_ALIVE_SECONDS
from app.main import build_app
from app.turns.runner import ENDING_SECONDS

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
EXAMPLE = FOLDER / "overlays" / "example"
VERSIONS = ("1.29", "1.34", "1.37")
OF_OTHERS = frozenset(("ServiceMonitor",))
"""Kinds that are not Kubernetes' own; nobody but their operator has a schema of them."""
CLOSING_SECONDS = 10
"""At least so long a server has to close after its turns have ended."""

Manifest = dict[str, Any]


def _read(file: Path) -> Manifest:
    return cast("Manifest", yaml.safe_load(file.read_text()))


def _kustomizations() -> list[Path]:
    return sorted(FOLDER.rglob("kustomization.yaml"))


def _manifests() -> dict[str, Manifest]:
    files = sorted(set(FOLDER.rglob("*.yaml")) - set(_kustomizations()))
    patches = {file.parent / patch["path"] for file in _kustomizations() for patch in _read(file).get("patches", ())}
    return {str(file.relative_to(FOLDER)): _read(file) for file in files if file not in patches}


MANIFESTS = _manifests()


def _base(kind: str) -> Manifest:
    return next(each for path, each in MANIFESTS.items() if path.startswith("base/") and each["kind"] == kind)


POD: Manifest = _base("Deployment")["spec"]["template"]["spec"]
CONTAINER: Manifest = POD["containers"][0]


@cache
def _rendered() -> list[Manifest]:
    """The example as Kustomize makes it."""
    tools = (["kustomize", "build"], ["kubectl", "kustomize"])
    tool = next((each for each in tools if shutil.which(each[0])), None)
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*tool, str(EXAMPLE)], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS)
def test_manifests_are_of_kubernetes_schemas(path: str, version: str) -> None:
    if MANIFESTS[path]["kind"] not in OF_OTHERS:
        kubernetes_validate.validate(MANIFESTS[path], version, strict=True)


def test_the_schemas_refuse_what_kubernetes_would() -> None:
    wrong = yaml.safe_load((FOLDER / "base" / "service.yaml").read_text())
    wrong["spec"]["selektor"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="selektor"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_what_kustomize_makes_of_the_example_is_of_the_schemas_and_complete() -> None:
    rendered = _rendered()
    for manifest in rendered:
        if manifest["kind"] not in OF_OTHERS:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "verbatim"

    assert {each["kind"] for each in rendered} == {each["kind"] for each in MANIFESTS.values()} | {"ConfigMap"}
    (config,) = (each for each in rendered if each["kind"] == "ConfigMap")
    (deployment,) = (each for each in rendered if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    assert container["image"] == "registry.example.com/verbatim:1.0.0"
    folder = next(each["mountPath"] for each in container["volumeMounts"] if each["name"] == "mongodb-tls")
    assert f"tlsCAFile={folder}/ca.crt" in config["data"]["VERBATIM_MONGO_URI"]


def test_kustomizations_name_every_file_and_no_other() -> None:
    for file in _kustomizations():
        made = _read(file)
        named = [
            *made.get("resources", ()),
            *made.get("components", ()),
            *(each["path"] for each in made.get("patches", ())),
        ]
        for name in named:
            assert (file.parent / name).exists(), f"{file}: {name}"
        beside = {each.name for each in file.parent.glob("*.yaml")} - {file.name}
        assert beside == {name for name in named if name.endswith(".yaml")}, file


def _literals(folder: Path) -> dict[str, str]:
    generators = _read(folder / "kustomization.yaml")["configMapGenerator"]
    return dict(literal.split("=", 1) for each in generators for literal in each["literals"])


def _environment() -> dict[str, str]:
    """What the example's container has, in Kubernetes' order: its own variables after those of the map."""
    own = {each["name"]: each["value"] for each in CONTAINER["env"]}
    return _literals(FOLDER / "base") | _literals(EXAMPLE) | own


def test_every_variable_is_a_setting() -> None:
    known = {f"VERBATIM_{name.upper()}" for name in Settings.model_fields} | {SECRETS_VARIABLE}

    assert _environment().keys() <= known


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a Secret is mounted: links to files behind a link that an update replaces."""
    values = {
        "verbatim_mongo_password": "the-password",
        "verbatim_bootstrap_key": "0123456789abcdef" * 4,
        "verbatim_metrics_key": "of-prometheus",
        "verbatim_llm_providers": '{"openai": {"api_key": "of-the-upstream"}}',
    }
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..data").symlink_to("..2026")
    for name, value in values.items():
        (tmp_path / "..2026" / name).write_text(value)
        (tmp_path / name).symlink_to(f"..data/{name}")
    for name in [name for name in os.environ if name.startswith("VERBATIM_")]:
        monkeypatch.delenv(name)
    for name, value in {**_environment(), SECRETS_VARIABLE: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_a_server_reads_its_settings_from_the_map_and_its_secrets_from_files(mounted: Path) -> None:
    settings = Settings(_env_file=None)

    assert settings.environment == "production"
    assert settings.mongo_password is not None
    assert settings.mongo_password.get_secret_value() == "the-password"
    assert settings.llm_providers.keys() == {"openai"}
    assert settings.port == CONTAINER["ports"][0]["containerPort"]


def test_the_service_does_not_overwrite_settings() -> None:
    """Kubernetes tells every container of every service: VERBATIM_PORT=tcp://10.0.0.1:80, which is no port."""
    assert POD["enableServiceLinks"] is False


def test_probes_ask_routes_that_are_there() -> None:
    paths = set(build_app(Settings(_env_file=None)).openapi()["paths"])
    probes = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert {each["path"] for each in probes.values()} | {METRICS_PATH} <= paths
    assert {each["port"] for each in probes.values()} == {CONTAINER["ports"][0]["name"]}
    assert probes["readinessProbe"]["path"] == "/health/ready"
    # The database may be away for long: that must not start servers anew.
    assert probes["livenessProbe"]["path"] == probes["startupProbe"]["path"] == "/health/live"


def test_a_server_may_finish_draining_before_it_is_killed() -> None:
    hook = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    drain = float(_literals(FOLDER / "base")["VERBATIM_DRAIN_TIMEOUT"])
    needed = int(hook[1]) + math.ceil(drain + ENDING_SECONDS) + CLOSING_SECONDS

    assert hook[0] == "sleep"
    assert POD["terminationGracePeriodSeconds"] >= needed


def test_names_and_ports_lead_from_the_ingress_to_the_process() -> None:
    service = _base("Service")
    labels = _base("Deployment")["spec"]["template"]["metadata"]["labels"]
    port = CONTAINER["ports"][0]["name"]

    for selector in (
        service["spec"]["selector"],
        _base("Deployment")["spec"]["selector"]["matchLabels"],
        _base("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _base("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in POD["topologySpreadConstraints"]),
    ):
        assert selector == labels
    assert service["spec"]["ports"][0]["targetPort"] == port
    assert {each["port"] for rule in _base("NetworkPolicy")["spec"]["ingress"] for each in rule["ports"]} == {port}
    target = _base("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", _base("Deployment")["metadata"]["name"])
    (rule,) = MANIFESTS["overlays/example/ingress.yaml"]["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}
    monitor = MANIFESTS["components/monitoring/service-monitor.yaml"]["spec"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], METRICS_PATH)
    assert endpoint["authorization"]["credentials"]["key"].removeprefix("verbatim_") in Settings.model_fields


def test_an_update_takes_no_server_away_before_another_serves() -> None:
    deployment = _base("Deployment")["spec"]

    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # else each `apply` would undo what the autoscaler has done
    assert _base("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    startup = CONTAINER["startupProbe"]
    assert deployment["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]


def test_a_server_can_do_nothing_that_it_need_not() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["resources"]["limits"].keys() >= {"memory", "ephemeral-storage"}
    writable = {each["name"] for each in POD["volumes"] if "emptyDir" in each}
    mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"] if not each.get("readOnly")}
    assert mounts == {"data": "/data", "tmp": "/tmp"}
    assert writable == mounts.keys()


def test_the_user_is_the_one_of_the_image() -> None:
    image = (FOLDER.parents[1] / "Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", image, re.MULTILINE)

    assert user is not None
    assert [int(each) for each in user.groups()] == [
        POD["securityContext"]["runAsUser"],
        POD["securityContext"]["runAsGroup"],
    ]
    assert CONTAINER["args"][0] == "verbatim"
    assert CONTAINER["args"][1] in {command.name for command in _app.registered_commands}


def _annotations() -> Mapping[str, str]:
    annotations: Mapping[str, str] = MANIFESTS["overlays/example/ingress.yaml"]["metadata"]["annotations"]
    return {name.rpartition("/")[2]: value for name, value in annotations.items()}


def test_the_ingress_lets_streams_and_files_pass() -> None:
    notes = _annotations()

    assert notes["proxy-buffering"] == notes["proxy-request-buffering"] == "off"
    assert float(notes["proxy-read-timeout"]) > 2 * KEEP_ALIVE_SECONDS
    bytes_ = int(notes["proxy-body-size"].removesuffix("m")) * 1024 * 1024
    fields = Settings.model_fields
    assert bytes_ >= max(fields["max_body_bytes"].default, fields["import_max_bytes"].default)


def test_secrets_are_told_of_in_the_guide_and_stand_in_no_manifest() -> None:
    guide = (FOLDER.parents[1] / "docs" / "operations.md").read_text()

    assert not any(each["kind"] == "Secret" for each in MANIFESTS.values())
    tls = _read(FOLDER / "components" / "mongodb-tls" / "deployment.yaml")["spec"]["template"]["spec"]
    mounted = [each["secret"]["secretName"] for pod in (POD, tls) for each in pod["volumes"] if "secret" in each]
    assert mounted == ["verbatim", "verbatim-mongodb-tls"]
    for name in mounted:
        assert f"create secret generic {name} " in guide
