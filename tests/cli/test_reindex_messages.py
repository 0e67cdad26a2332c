"""`verbatim reindex` and messages: beside servers, again after it was killed, and what `verbatim doctor` says of it."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from app.search.table import MARK
from tests.cli.command import SCRIPT, Verbatim, cells
from tests.exports.files import read_jsonl

pytestmark = pytest.mark.mongod

START = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = ObjectId()
Rows = Database[dict[str, Any]]
WORDS = ("coffee", "tea", "咖啡", "milk")


@pytest.fixture
def rows(verbatim: Verbatim) -> Iterator[Rows]:
    """A database that was prepared, without a message."""
    verbatim("user", "list")
    client: MongoClient[dict[str, Any]]
    with MongoClient(verbatim.uri) as client:
        yield client[verbatim.database]


def insert(rows: Rows, count: int) -> None:
    common = {"owner_id": OWNER, "kind": "message", "role": "user", "status": "complete", "deleted_at": None}
    home = ObjectId()
    rows["messages"].insert_many(
        {
            "_id": ObjectId(),
            **common,
            "conversation_id": home,
            "seq": number,
            "content": f"{WORDS[number % 4]} number {number}: {number * number:x} {number * 7919:b}",
            "created_at": START + timedelta(milliseconds=number // 10),
            "updated_at": START,
            "version": 1,
        }
        for number in range(count)
    )


def ids_of(rows: Rows, word: str) -> list[str]:
    return sorted(str(row["_id"]) for row in rows["messages"].find({"content": {"$regex": word}}, {"_id": 1}))


def searched(verbatim: Verbatim, word: str) -> list[str]:
    options = ("--filter", f"q={word}", "--columns", "id", "--force")
    verbatim("export", "messages", "-o", "found.jsonl", *options)
    return sorted(str(each["id"]) for each in read_jsonl((verbatim.folder / "found.jsonl").read_bytes()))


def finding(verbatim: Verbatim, status: int) -> list[str]:
    found = {name: rest for name, *rest in cells(verbatim("doctor", status=status).stdout)}
    return found["Search"]


def expire_lease(rows: Rows) -> None:
    rows["search_indexes_v2"].update_one({}, {"$set": {"expires_at": START}})


def test_messages_that_wait_are_indexed(verbatim: Verbatim, rows: Rows) -> None:
    insert(rows, 30)
    told = "30 messages are not indexed yet and read at every search of messages"
    assert finding(verbatim, status=0) == ["ok", f"every row is indexed; {told}"]

    assert verbatim("reindex").stdout.splitlines()[2:] == ["messages: 30 reindexed."]
    assert verbatim("reindex").stdout.splitlines()[2:] == ["messages: 0 reindexed."]
    assert rows["messages"].count_documents({MARK: True, "version": 1, "updated_at": START}) == 30
    assert finding(verbatim, status=0) == ["ok", "every row is indexed"]
    assert searched(verbatim, "coffee") == ids_of(rows, "coffee")


def test_all_indexes_every_message_anew(verbatim: Verbatim, rows: Rows) -> None:
    insert(rows, 30)
    verbatim("reindex")
    [before] = rows["search_indexes_v2"].find()
    insert(rows, 5)

    assert verbatim("reindex", "--all").stdout.splitlines()[2:] == ["messages: 35 looked at."]
    [after] = rows["search_indexes_v2"].find()
    assert set(before["segments"]).isdisjoint(after["segments"])
    assert "holder" not in after, "the next one would have to wait"
    assert rows["messages"].count_documents({MARK: None}) == 0
    assert searched(verbatim, "milk") == ids_of(rows, "milk")


def test_too_many_that_wait_are_a_finding(verbatim: Verbatim, rows: Rows) -> None:
    insert(rows, 5001)

    state, sentence = finding(verbatim, status=1)
    assert state == "WRONG"
    assert sentence == (
        "5,001 messages are not indexed yet and read at every search of messages; "
        "is a server with VERBATIM_SEARCH_BUILDER=true running? or run: verbatim reindex"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", ["search_segments_v2", "search_blocks_v2", "search_keys_v2", "search_indexes_v2", "messages"]
)
def test_a_killed_process_is_followed_by_the_next(verbatim: Verbatim, rows: Rows, step: str) -> None:
    """Killed when it has just begun a segment, its blocks or its keys, when the segment counts, and when marks come."""
    insert(rows, 3000)
    watched: list[dict[str, Any]] = [{"$match": {"operationType": {"$in": ["insert", "update"]}}}]
    if step == "search_indexes_v2":
        watched.append(
            {
                "$match": {
                    "updateDescription.updatedFields": {"$exists": True},
                    "fullDocument.segments.0": {"$exists": True},
                }
            }
        )
    environment = os.environ | verbatim._environment({})
    with rows[step].watch(watched, full_document="updateLookup") as changes:
        process = subprocess.Popen(
            [SCRIPT, "reindex"], env=environment, cwd=verbatim.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            next(changes)
        finally:
            process.kill()
            process.communicate()

    for word in WORDS:
        assert searched(verbatim, word) == ids_of(rows, word)
    expire_lease(rows)
    verbatim("reindex")
    assert rows["messages"].count_documents({MARK: True}) == 3000
    [index] = rows["search_indexes_v2"].find()
    retired = [each["id"] for each in index.get("retired", [])]
    written = {
        ObjectId(id[:12]) for name in ("search_blocks_v2", "search_keys_v2") for id in rows[name].distinct("_id")
    }
    assert written == {*index["segments"], *retired} == set(rows["search_segments_v2"].distinct("_id"))
    for word in WORDS:
        assert searched(verbatim, word) == ids_of(rows, word)


def test_all_makes_an_index_that_was_lost(verbatim: Verbatim, rows: Rows) -> None:
    """The messages say that they are indexed, as after a restore without the collections of the index."""
    insert(rows, 30)
    verbatim("reindex")
    for name in ("search_indexes_v2", "search_segments_v2", "search_blocks_v2", "search_keys_v2", "search_removed_v2"):
        rows[name].drop()
    assert searched(verbatim, "tea") == []

    verbatim("reindex", "--all")
    assert searched(verbatim, "tea") == ids_of(rows, "tea")
