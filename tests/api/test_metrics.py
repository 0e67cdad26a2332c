"""/metrics: who may read it, that it counts what happens, and that the dashboard and the alerts name what is there."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.database import Database
from app.exports.model import ExportSpec
from app.kit import changes
from app.kit.clock import now
from app.kit.metrics import exposition
from app.services import Services
from tests.conftest import Person
from tests.processes import ServerProcess

DEPLOY = Path(__file__).parents[2] / "deploy"
METRICS_KEY = "only-for-prometheus-0123456789"


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the samples with at least these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_only_admins_and_prometheus_may_read_it(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_admin: httpx.AsyncClient
) -> None:
    assert (await anonymous.get("/metrics")).status_code == 401
    assert (await anonymous.get("/metrics", headers={"Authorization": "Bearer wrong"})).status_code == 401
    assert (await as_ana.get("/metrics")).status_code == 403
    assert (await as_analyst.get("/metrics")).status_code == 403
    answer = await as_admin.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


async def test_requests_are_counted_by_the_template_of_their_route(as_admin: httpx.AsyncClient) -> None:
    labels = {"method": "GET", "route": "/api/conversations/{id}", "status": "404"}
    before = value(exposition().decode(), "verbatim_http_requests_total", **labels)
    errors = value(exposition().decode(), "verbatim_errors_total", code="not_found")
    await as_admin.get("/api/conversations/0123456789abcdef01234567")
    await as_admin.get("/api/conversations/0123456789abcdef01234568")
    text = (await as_admin.get("/metrics")).text

    assert value(text, "verbatim_http_requests_total", **labels) == before + 2
    assert value(text, "verbatim_errors_total", code="not_found") == errors + 2
    assert "0123456789abcdef" not in text


@pytest.mark.mongod
async def test_turns_commands_and_slow_queries_of_a_real_server(tmp_path: Path, mongo_uri: str) -> None:
    settings = {"mongo_uri": mongo_uri, "database": "verbatim_metrics", "metrics_key": METRICS_KEY}
    async with ServerProcess(tmp_path, **settings, slow_query_seconds=0.000001, log_level="warning") as server:
        async with server.client() as client:
            conversation = (await client.post("/api/conversations", json={"title": "Secret title"})).json()
            turn = await client.post(f"/api/conversations/{conversation['id']}/turns", json={"content": "Secret words"})
            assert turn.json()["state"] == "completed"
            text = (await client.get("/metrics", headers={"Authorization": f"Bearer {METRICS_KEY}"})).text
        log = server.log

    assert value(text, "verbatim_turns_total", state="completed", provider="echo") == 1
    assert value(text, "verbatim_turns_running") == 0
    assert value(text, "verbatim_turn_first_token_seconds_count", provider="echo") == 1
    assert value(text, "verbatim_tokens_total", kind="completion") > 0
    assert value(text, "verbatim_turn_log_rows_count") >= 1
    assert value(text, "verbatim_mongo_command_seconds_count", command="insert", outcome="ok") >= 1
    assert value(text, "verbatim_mongo_connections", state="open") >= 1
    assert value(text, "verbatim_mongo_primary") == 1
    assert value(text, "verbatim_starts_total") == 1
    assert value(text, "verbatim_http_requests_held") == 0
    assert "slow_query" in log
    assert "collection=messages" in log.replace("'", "")
    assert "Secret" not in log
    assert METRICS_KEY not in log


@pytest.mark.mongod
async def test_what_waits_in_the_database_is_counted(services: Services, ana: Person) -> None:
    principal = (await services.keys.identify(ana.key)).principal
    spec = ExportSpec(resource="messages", format="csv", filters={}, columns=None, raw=False)
    for _ in range(2):
        await services.exports.create(principal, spec)
    await services.backlog.look()
    text = exposition().decode()

    assert value(text, "verbatim_queue", queue="exports") == 2
    assert {value(text, "verbatim_queue", queue=each) for each in ("turns", "imports", "deliveries")} == {0}


@pytest.mark.mongod
async def test_the_lag_of_changes_is_their_age_when_they_came(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = asyncio.Event()
    lags: list[float] = []

    def handle(_: changes.Change) -> None:
        lags.append(value(exposition().decode(), "verbatim_change_stream_lag_seconds"))
        handled.set()

    later = now() + timedelta(seconds=60)
    monkeypatch.setattr(changes, "now", lambda: later)
    feed = changes.ChangeFeed(empty_database.client[empty_database.name])
    feed.watch(changes.Watch("deployment", {"operationType": "update"}, (), handle, lambda: None))
    feed.open()
    await feed.opened()
    await empty_database.writable()
    await empty_database.client[empty_database.name]["deployment"].update_one({"_id": "secret"}, {"$set": {"x": 1}})
    async with asyncio.timeout(10):
        await handled.wait()
    await feed.aclose()

    assert 50 < lags[0] <= 60


def _names(text: str) -> set[str]:
    return set(re.findall(r"verbatim_[a-z_]+", text))


def test_the_dashboard_and_the_alerts_name_metrics_that_are_there() -> None:
    there = {
        name
        for family in text_string_to_metric_families(exposition().decode())
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket", f"{family.name}_count")
    }
    rules = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    asked = "\n".join(
        [rule["expr"] for rule in rules] + [each["expr"] for panel in panels for each in panel["targets"]]
    )

    assert _names(asked) - there == set()
    assert len(rules) >= 8
    assert len({panel["title"] for panel in panels}) == len(panels)
