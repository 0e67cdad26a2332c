"""`verbatim doctor`: what is right, what is wrong, and what to do about it."""

import json
from typing import Any

import pytest
from pymongo import MongoClient

from tests.cli.command import Verbatim, cells

pytestmark = pytest.mark.mongod


def test_a_sound_installation_is_found_to_be_one(verbatim: Verbatim) -> None:
    verbatim("user", "list")
    done = verbatim.script("doctor")
    findings = {name: (state, sentence) for name, state, sentence in cells(done.stdout)}

    assert done.status == 0
    looked_at = {"Settings", "Disk", "Database", "Clock", "Migrations", "Indexes", "Search", "Admin"}
    members = {"Versions", "Replication", "Oplog", "TLS", "Open files", "Backup"}
    assert set(findings) == looked_at | members | {"Default model", "Issuer"}
    assert {state for state, _ in findings.values()} == {"ok"}
    assert "replica set" in findings["Database"][1]
    assert findings["Default model"][1].startswith("echo")


def test_what_is_wrong_is_named_with_what_to_do(verbatim: Verbatim) -> None:
    verbatim("user", "list")
    client: MongoClient[dict[str, Any]]
    with MongoClient(verbatim.uri) as client:
        client[verbatim.database]["users"].update_many({}, {"$set": {"disabled": True}})

    away = json.dumps({"issuer": "http://127.0.0.1:9", "audience": "verbatim"})
    ill = verbatim("doctor", status=1, default_model="gone:model", mongo_url="mistyped", secrets="/secrets", oidc=away)

    assert "nobody can administer: verbatim user role EMAIL admin" in ill.stdout
    assert "VERBATIM_DEFAULT_MODEL=gone:model" in ill.stdout
    assert "unknown: VERBATIM_MONGO_URL; see .env.example" in ill.stdout
    assert "http://127.0.0.1:9: Cannot connect" in ill.stdout
    assert ill.stdout.count("WRONG") == 4


def test_programs_read_it_as_json(verbatim: Verbatim, stored: Any) -> None:
    verbatim("user", "list")
    assert "has taken none" in json.loads(verbatim("doctor", "--json").stdout)["checks"][-4]["finding"]

    verbatim("backup", "all.vbk")
    stored["restoring.rows"].insert_one({})
    told = json.loads(verbatim("doctor", "--json", status=1).stdout)
    assert not told["ok"]
    assert [each["name"] for each in told["checks"] if not each["ok"]] == ["Backup"]
    assert "a restore was cut short" in next(each["finding"] for each in told["checks"] if not each["ok"])

    stored["restoring.rows"].drop()
    told = json.loads(verbatim("doctor", "--json").stdout)
    assert told["ok"]
    assert "the last one was taken 0.0 hours ago" in str(told)


def test_a_server_that_may_open_too_few_files_is_named(verbatim: Verbatim) -> None:
    verbatim("user", "list")
    ill = verbatim("doctor", max_connections="100000000")

    assert "raise the limit (ulimit -n, LimitNOFILE=)" in ill.stdout


def test_it_changes_nothing_and_says_what_is_not_migrated(verbatim: Verbatim, stored: Any) -> None:
    found = {name: rest for name, *rest in cells(verbatim("doctor", status=1).stdout)}

    assert found["Migrations"][0] == "WRONG"
    assert "1 (indexes)" in found["Migrations"][1]
    assert "verbatim migrate" in found["Migrations"][1]
    assert found["Search"] == ["WRONG", "cannot be looked at before the migrations are done"]
    assert set(stored.list_collection_names()) <= {"deployment"}


def test_indexes_that_differ_are_named_with_what_to_do(verbatim: Verbatim, stored: Any) -> None:
    verbatim("user", "list")
    stored["users"].drop_index("name_v1")
    stored["turns"].drop_index("queued_v1")
    stored["turns"].create_index([("state", 1)], name="queued_v1")
    stored["turns"].create_index([("conversation_id", 1), ("created_at", 1)], name="conversation_v1")
    stored["messages"].create_index([("made", 1)], name="by_hand")

    found = {name: rest for name, *rest in cells(verbatim("doctor", status=1).stdout)}

    assert found["Indexes"] == [
        "WRONG",
        "missing: users.name_v1; changed: turns.queued_v1; run: verbatim migrate --rebuild-indexes",
    ]


def test_settings_that_cannot_be_used_are_named_without_their_secrets(verbatim: Verbatim) -> None:
    spaced = verbatim("doctor", status=1, bootstrap_key="two words")
    short = verbatim("doctor", status=1, bootstrap_key="too-short-a-key", environment="production")

    assert spaced.stderr.startswith("verbatim: VERBATIM_BOOTSTRAP_KEY: may hold only printable ASCII")
    assert "at least 32 random characters" in short.stderr
    assert "two words" not in spaced.stderr
    assert "too-short-a-key" not in short.stderr


def test_a_database_that_cannot_be_used_is_one_sentence(verbatim: Verbatim) -> None:
    failed = verbatim("doctor", status=1, mongo_uri="mongodb://[::1")

    assert failed.stderr.startswith("verbatim: VERBATIM_MONGO_URI cannot be used")
    assert len(failed.stderr.splitlines()) == 1
