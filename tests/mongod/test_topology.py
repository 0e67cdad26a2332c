"""What the database is, told at the start: real servers, and those whose answers are known.

The recorded answers are of servers that only speak MongoDB's protocol, as far as anybody reads them.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import ServerSelectionTimeoutError

from app.config import Settings
from app.database import Database, DatabaseUnavailable, check_topology, open_database
from app.mongod.binary import find_mongod
from app.topology import MODES, describe, probe
from tests.mongod.standalone import standalone

Answers = tuple[Mapping[str, Any], Mapping[str, Any]]

SESSIONS = {"logicalSessionTimeoutMinutes": 30, "isWritablePrimary": True, "ok": 1.0}
BUILT = {"gitVersion": "1760627d8e6a5b5b1cbc8e6ff6ec6b9b3b4b0f5c", "modules": [], "bits": 64, "ok": 1.0}
DOCDB = "docdb-2026.cluster-abc.eu-west-1.docdb.amazonaws.com:27017"

RECORDED: Mapping[str, Answers] = {
    "MongoDB 6": (
        {**SESSIONS, "setName": "rs0", "hosts": ["a:1"], "maxWireVersion": 17},
        {**BUILT, "version": "6.0.5"},
    ),
    "MongoDB 8, three members": (
        {**SESSIONS, "setName": "rs0", "hosts": ["a:1", "b:1"], "passives": ["c:1"], "maxWireVersion": 25},
        {**BUILT, "version": "8.0.4"},
    ),
    "MongoDB 7, sharded": ({**SESSIONS, "msg": "isdbgrid", "maxWireVersion": 21}, {**BUILT, "version": "7.0.2"}),
    "MongoDB 7, standalone": ({**SESSIONS, "maxWireVersion": 21}, {**BUILT, "version": "7.0.2"}),
    "MongoDB 5": ({**SESSIONS, "setName": "rs0", "maxWireVersion": 13}, {**BUILT, "version": "5.0.9"}),
    "FerretDB 1": (
        {**SESSIONS, "maxWireVersion": 21},
        {**BUILT, "version": "7.0.42", "ferretdbVersion": "v1.24.0", "ferretdbFeatures": {"aggregationStages": []}},
    ),
    "FerretDB 2": (
        {**SESSIONS, "setName": "rs0", "hosts": ["localhost:27017"], "maxWireVersion": 21, "readOnly": False},
        {**BUILT, "version": "7.0.77", "ferretdb": {"version": "v2.7.0", "package": "docker"}},
    ),
    "Amazon DocumentDB": (
        {**SESSIONS, "setName": "rs0", "hosts": [DOCDB], "me": DOCDB, "primary": DOCDB, "maxWireVersion": 13},
        {"version": "5.0.0", "versionArray": [5, 0, 0, 0], "bits": 64, "maxBsonObjectSize": 16777216, "ok": 1.0},
    ),
    "Azure Cosmos DB": (
        {**SESSIONS, "setName": "globaldb", "hosts": ["x.mongo.cosmos.azure.com:10255"], "maxWireVersion": 18},
        {**BUILT, "_t": "BuildInfoResponse", "version": "6.0.0"},
    ),
    "DocumentDB (PostgreSQL)": (
        {
            **SESSIONS,
            "msg": "isdbgrid",
            "setName": "globaldb",
            "maxWireVersion": 21,
            "internal": {"documentdb_versions": ["0.117-0", "0.117.0"], "kind": "openSource"},
        },
        {"version": "7.0.0", "versionArray": [7, 0, 0, 0], "bits": 64, "ok": 1.0},
    ),
    "a server that is not MongoDB": ({**SESSIONS, "setName": "x", "maxWireVersion": 21}, {"version": "7.0.0", "ok": 1}),
}

SHORT: Mapping[str, list[str]] = {
    "MongoDB 6": [],
    "MongoDB 8, three members": [],
    "MongoDB 7, sharded": [],
    "MongoDB 7, standalone": ["standalone", "no_transactions", "no_change_streams"],
    "MongoDB 5": ["too_old"],
    "FerretDB 1": ["other_product", "standalone", "no_transactions", "no_change_streams", "no_text_index"],
    "FerretDB 2": ["other_product", "no_transactions", "no_change_streams", "no_text_index"],
    "Amazon DocumentDB": ["other_product", "too_old", "no_change_streams", "no_text_index"],
    "Azure Cosmos DB": ["other_product", "no_transactions", "no_change_streams", "no_text_index"],
    "DocumentDB (PostgreSQL)": ["unproven"],
    "a server that is not MongoDB": ["unproven"],
}

SAID: Mapping[str, list[str]] = {
    "MongoDB 7, standalone": ["replica set", "rs.initiate()"],
    "MongoDB 5": ["5.0.9", "6.0 or newer"],
    "FerretDB 1": ["This is FerretDB v1.24.0, not MongoDB", "neither transactions", "change streams"],
    "FerretDB 2": ["This is FerretDB v2.7.0, not MongoDB", "neither transactions", "VERBATIM_MONGO_URI"],
    "Amazon DocumentDB": ["This is Amazon DocumentDB 5.0.0", "$in", "change streams are off"],
    "Azure Cosmos DB": ["This is Azure Cosmos DB 6.0.0", "one partition"],
}


@pytest.mark.parametrize("name", RECORDED)
def test_what_falls_short_is_named(name: str) -> None:
    assert [mode.name for mode in describe(*RECORDED[name]).modes] == SHORT[name]


@pytest.mark.parametrize("name", RECORDED)
def test_who_cannot_serve_is_refused_with_what_will_not_work(name: str) -> None:
    refusal = describe(*RECORDED[name]).refusal

    assert (refusal is not None) == (name in SAID)
    for words in SAID.get(name, []):
        assert words in str(refusal)


def test_the_members_that_may_become_primary_and_the_hidden_rest_are_told_apart() -> None:
    three, sharded = describe(*RECORDED["MongoDB 8, three members"]), describe(*RECORDED["MongoDB 7, sharded"])

    assert str(three) == "MongoDB 8.0.4, replica set rs0, 3 members"
    assert str(sharded) == "MongoDB 7.0.2, a sharded cluster, 1 member"
    assert sharded.transactions


def test_what_was_found_by_trying_is_a_mode_that_is_served_in() -> None:
    without = describe(*RECORDED["MongoDB 6"], change_streams=False, ttl=False)

    assert [mode.name for mode in without.modes] == ["no_change_streams", "no_ttl"]
    assert without.refusal is None


def test_each_mode_has_one_name_and_is_met_by_a_recorded_answer_or_by_trying() -> None:
    names = [mode.name for mode in MODES]

    assert len(set(names)) == len(names)
    assert set(names) == {name for found in SHORT.values() for name in found} | {"no_ttl"}


@pytest.mark.mongod
async def test_a_real_replica_set_can_do_all(database: Database) -> None:
    topology = await probe(database.client, database.name)

    assert (topology.product.name, topology.kind, topology.modes) == ("MongoDB", "replica_set", [])
    assert topology == database.topology
    assert all((topology.transactions, topology.change_streams, topology.ttl, topology.text_index))


@pytest.fixture(scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with standalone(tmp_path_factory.mktemp("alone"), find_mongod(None)) as uri:
        yield uri


@pytest.mark.mongod
async def test_a_standalone_server_is_refused_with_what_to_do(alone: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data=tmp_path, mongo_uri=alone)

    with pytest.raises(DatabaseUnavailable, match=r"needs a replica set .*rs.initiate"):
        async with open_database(settings):
            raise AssertionError("a standalone server was taken")


@pytest.mark.mongod
async def test_what_a_standalone_server_cannot_do_is_found_by_trying(alone: str) -> None:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(alone) as client:
        topology = await probe(client, "verbatim")
        await client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
        without_ttl = await probe(client, "verbatim")

    assert [mode.name for mode in topology.modes] == ["standalone", "no_transactions", "no_change_streams"]
    assert [mode.name for mode in without_ttl.modes if mode not in topology.modes] == ["no_ttl"]


async def test_a_server_that_is_away_is_one_sentence() -> None:
    async def away(_: Any) -> None:
        raise ServerSelectionTimeoutError("connection refused")

    client = cast("AsyncMongoClient[dict[str, Any]]", SimpleNamespace(admin=SimpleNamespace(command=away)))
    with pytest.raises(DatabaseUnavailable, match=r"cannot be reached.*connection refused"):
        await check_topology(client, "verbatim")
