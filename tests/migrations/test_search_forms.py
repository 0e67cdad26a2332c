"""What searches need since texts are found by compatible forms: old rows get it, and the old index goes when asked."""

from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from app.conversations.content_index import content_index
from app.database import Database
from app.kit.normal_form import form_path
from app.migrations import backfill, steps
from app.migrations.runner import Migrations
from app.search.index import TextIndex
from tests.migrations import shapes

pytestmark = pytest.mark.mongod

Rows = AsyncDatabase[dict[str, Any]]
FORM = form_path("content")
CONTENTS = ("ＡＢＣ", "plain", "今天，很好", "ﬁ", "naïve", "")


async def store(rows: Rows) -> None:
    old = {"indexed_v1": True, "status": "complete"}
    messages = [{**shapes.message(n), **old, "content": CONTENTS[n % len(CONTENTS)]} for n in range(60)]
    await rows["messages"].insert_many([*messages, {**shapes.message(61), "content": "Ａ", "status": "streaming"}])


async def test_messages_get_the_forms_that_they_lack(
    old: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "BATCH", 7)
    monkeypatch.setattr(steps, "_FORMS_AT_ONCE", 2)
    await store(rows)

    await Migrations(old).finish("expand", "migrate")

    formed = await rows["messages"].find({FORM: {"$exists": True}}).to_list()
    assert {(row["content"], row[FORM]) for row in formed} == {("ＡＢＣ", "ABC"), ("ﬁ", "fi")}
    assert len(formed) == 20
    assert await rows["messages"].count_documents({"version": 1, "updated_at": {"$gt": shapes.BEGAN}}) == 60


async def test_the_old_index_goes_when_no_older_server_is_left(old: Database, rows: Rows) -> None:
    await store(rows)
    await rows["users"].insert_one({**shapes.user(1), "windows_v1": ["old"]})
    await rows["search_indexes"].insert_one({"segments": []})
    await rows["users"].create_index("windows_v1", name="windows_v1")
    await Migrations(old).finish("expand", "migrate")
    assert await rows["users"].count_documents({"windows_v1": {"$exists": True}}) == 1

    await Migrations(old).finish("contract")

    assert "search_indexes" not in await rows.list_collection_names()
    assert "windows_v1" not in await rows["users"].index_information()
    assert await rows["users"].count_documents({"windows_v1": {"$exists": True}}) == 0
    assert await rows["messages"].count_documents({"indexed_v1": {"$exists": True}}) == 0
    assert await rows["users"].count_documents({"windows_v2": {"$exists": True}}) == 1


async def test_an_index_that_does_not_tell_where_texts_begin_is_made_anew(old: Database, rows: Rows) -> None:
    await Migrations(old).finish("expand", "migrate")
    await store(rows)
    index = content_index()
    await _build(index)
    before = await index.store.segment_ids()
    await rows["search_segments_v2"].update_many({}, {"$unset": {"edges": ""}})

    await Migrations(old).finish("migrate")
    await Migrations(old).finish("migrate")  # it is being made anew already
    assert await index.store.segment_ids() == before
    await _build(index)

    segments = await index.store.outlines(await index.store.segment_ids())
    assert [each.has_edges for each in segments] == [True]
    assert [each.rows for each in segments] == [60]
    assert not await steps.lacks_edges(old)
    await index.aclose()


async def _build(index: TextIndex) -> None:
    while await index.builder.round(least=1):
        pass
