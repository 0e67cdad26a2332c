"""`verbatim reindex`: rows of older versions get their windows, whatever happens meanwhile."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from app.kit.windows import FIELD, windows_of
from tests.cli.command import Verbatim, cells

pytestmark = pytest.mark.mongod
USERS = 1203
PATHS = {"users": ("email", "name"), "conversations": ("title",)}


@pytest.fixture
def rows(verbatim: Verbatim) -> Iterator[Database[dict[str, Any]]]:
    """A database whose server had no windows, but for one user of today."""
    verbatim("user", "create", "today@example.com")
    client: MongoClient[dict[str, Any]]
    with MongoClient(verbatim.uri) as client:
        database: Database[dict[str, Any]] = client[verbatim.database]
        common: dict[str, Any] = {"version": 3, "windows_v0": ["old"]}
        database["users"].insert_many(
            [{**common, "email": f"{n}@example.com", "name": "Ａ" * (n % 9)} for n in range(USERS)]
        )
        database["conversations"].insert_many([{**common, "title": title} for title in ("", "Mocha", "恋恋")])
        yield database


def wrong(database: Database[dict[str, Any]]) -> int:
    """How many rows have other windows than their texts call for."""
    return sum(
        row.get(FIELD) != windows_of(row[path] for path in paths)
        for name, paths in PATHS.items()
        for row in database[name].find()
    )


def finding(verbatim: Verbatim, status: int) -> list[str]:
    found = {name: rest for name, *rest in cells(verbatim("doctor", status=status).stdout)}
    return found["Search"]


def test_rows_of_older_versions_get_their_windows(verbatim: Verbatim, rows: Database[dict[str, Any]]) -> None:
    assert wrong(rows) == USERS + 3
    assert finding(verbatim, status=1) == [
        "WRONG",
        f"{USERS + 3:,} rows are read at every search of names, e-mails or titles; run: verbatim reindex",
    ]

    first, second = verbatim("reindex"), verbatim("reindex")

    others = ["conversations: 3 reindexed.", "messages: 0 reindexed."]
    assert first.stdout.splitlines() == [f"users: {USERS:,} reindexed.", *others]
    assert second.stdout.splitlines() == [f"{each}: 0 reindexed." for each in ("users", "conversations", "messages")]
    assert wrong(rows) == 0
    assert rows["users"].count_documents({"version": 3}) == USERS
    assert rows["users"].distinct("name_nfkc", {"name": "ＡＡ"}) == ["AA"]
    assert finding(verbatim, status=0) == ["ok", "every row is indexed"]


def test_it_goes_on_where_it_was_cut_short(verbatim: Verbatim, rows: Database[dict[str, Any]]) -> None:
    half = [row["_id"] for row in rows["users"].find({FIELD: None}, limit=USERS // 2)]
    for id in half:
        row = rows["users"].find_one({"_id": id}) or {}
        rows["users"].update_one({"_id": id}, {"$set": {FIELD: windows_of([row["email"], row["name"]])}})

    assert verbatim("reindex").stdout.splitlines()[0] == f"users: {USERS - len(half):,} reindexed."
    assert wrong(rows) == 0


def test_all_finds_windows_that_an_older_server_left_behind(verbatim: Verbatim, rows: Database[dict[str, Any]]) -> None:
    verbatim("reindex")
    rows["users"].update_one({"email": "7@example.com"}, {"$set": {"name": "renamed"}})
    rows["conversations"].update_one({"title": "Mocha"}, {"$set": {"title": "renamed"}})
    assert wrong(rows) == 2

    assert verbatim("reindex").stdout.splitlines()[0] == "users: 0 reindexed."
    assert wrong(rows) == 2
    assert verbatim("reindex", "--all").stdout.splitlines()[0] == f"users: {USERS + 2:,} looked at."
    assert wrong(rows) == 0
