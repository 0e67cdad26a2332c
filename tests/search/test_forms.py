"""Rows of a server that stored no normal forms get them when they are indexed, and whenever all is indexed anew."""

import pytest

from app.conversations.model import Message
from app.conversations.repository import MessageRepository
from app.kit.normal_form import form_path
from app.search.index import TextIndex
from tests.search.stored import build, found, marks, store

pytestmark = pytest.mark.mongod
FORM = form_path("content")


@pytest.mark.parametrize("way", ["indexed", "rebuilt"])
async def test_what_an_older_server_wrote_gets_its_form(
    messages: MessageRepository, index: TextIndex, way: str
) -> None:
    ids = await store(messages, "ＡＢＣ", "plain", "，", "ﬁ" * 50_001)
    if way == "rebuilt":
        await build(index)
    await messages.collection.update_many({}, {"$unset": {FORM: 1}})
    before = await messages.collection.find({}, {"version": 1, "updated_at": 1}).to_list()

    if way == "rebuilt":
        async for _ in index.rebuild():
            pass
    else:
        await build(index)

    rows = await Message.get_pymongo_collection().find({FORM: {"$exists": True}}).to_list()
    assert [row["_id"] for row in rows] == [ids[0], ids[3]]
    assert rows[0][FORM] == "ABC"
    assert await found(messages, "abc") == ids[:1]
    assert await found(messages, "fififi") == ids[3:]
    assert await messages.collection.find({}, {"version": 1, "updated_at": 1}).to_list() == before
    assert await marks() == 4
