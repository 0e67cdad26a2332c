"""/capabilities and the probes: what the database is, and whether this server can serve from it."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.database import Database
from app.services import Services
from app.topology import describe
from tests.conftest import Person, client_of


async def test_what_the_database_is_is_told_where_it_was_asked(as_ana: httpx.AsyncClient, services: Services) -> None:
    found = (await as_ana.get("/capabilities")).json()["database"]

    if services.database.topology is None:  # there is nothing to be asked
        assert found is None
    else:
        assert (found["product"], found["topology"], found["members"]) == ("MongoDB", "replica_set", 1)
        assert found["transactions"] and found["change_streams"]  # noqa: PT018 one fact
        assert found["degraded"] == []
        assert found.keys().isdisjoint({"hosts", "replica_set"})


async def test_what_falls_short_is_named(app: FastAPI, services: Services, ana: Person) -> None:
    hello = {"setName": "rs0", "hosts": ["a:1", "b:1"], "maxWireVersion": 17, "logicalSessionTimeoutMinutes": 30}
    topology = describe(hello, {"version": "6.0.5", "gitVersion": "0"}, change_streams=False)
    app.state.services = replace(services, database=replace(services.database, topology=topology))

    async with client_of(app, ana) as client:
        found = (await client.get("/capabilities")).json()["database"]

    assert (found["version"], found["members"], found["change_streams"]) == ("6.0.5", 2, False)
    [mode] = found["degraded"]
    assert mode["name"] == "no_change_streams"
    assert "webhooks are told nothing" in mode["what"]


async def test_it_is_ready_when_migrations_are_done(anonymous: httpx.AsyncClient, database: Database) -> None:
    ledger: Any = database.client[database.name]["migrations"]
    assert (await anonymous.get("/health/ready")).status_code == 200

    await ledger.update_one({"_id": 2}, {"$set": {"state": "running"}})
    try:
        waiting = await anonymous.get("/health/ready")
        assert (await anonymous.get("/health/live")).status_code == 200
    finally:
        await ledger.update_one({"_id": 2}, {"$set": {"state": "done"}})

    assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "2")
    assert waiting.json()["detail"] == "The database is being migrated: 2 (free_turn_events)."


async def test_it_is_ready_no_more_when_a_newer_version_has_taken_over(
    anonymous: httpx.AsyncClient, database: Database
) -> None:
    ledger: Any = database.client[database.name]["migrations"]
    await ledger.insert_one({"_id": "schema", "contract": 1000, "version": "9.0"})
    try:
        replaced = await anonymous.get("/health/ready")
    finally:
        await ledger.delete_one({"_id": "schema"})

    assert replaced.status_code == 503
    assert "has to be replaced" in replaced.json()["detail"]


@pytest.mark.parametrize("path", ["/health/ready", "/api/users/me", "/metrics", "/docs"])
async def test_before_there_are_services_nothing_but_liveness_is_answered(app: FastAPI, path: str) -> None:
    del app.state.services
    app.state.starting = ": migration 1 (indexes), 3 of 9"

    async with client_of(app) as client:
        refused, live = await client.get(path), await client.get("/health/live")

    assert (refused.status_code, live.status_code, live.json()) == (503, 200, {"status": "ok"})
    assert refused.json()["detail"] == "The server is starting: migration 1 (indexes), 3 of 9; retry."
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert refused.json()["request_id"]
