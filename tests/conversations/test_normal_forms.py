"""Full and half width, ligatures, composed and decomposed letters: one is found by the other, whoever wrote it when."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.model import Message
from app.conversations.snippets import REACH
from app.kit.normal_form import form_path
from app.services import Services
from app.users.model import User
from tests.api.calls import items, new_conversation, say
from tests.conftest import Person
from tests.conversations.searching import Archive, found, marked, results

pytestmark = pytest.mark.mongod
FORM = form_path("content")


@pytest.fixture
def archive(services: Services) -> Archive:
    return Archive(services)


async def one(archive: Archive, client: httpx.AsyncClient, ana: Person, content: str, **asked: Any) -> dict[str, Any]:
    """The result for a message that is alone in its conversation."""
    home = await archive.conversation(ana.id)
    await archive.messages(ana.id, home, content)
    [item] = await results(client, conversation_id=str(home), **asked)
    return item


@pytest.mark.parametrize(
    ("content", "query", "places"),
    [
        ("我买了ＡＢＣ牌的ｃａｆｅ", "abc", ["ＡＢＣ"]),
        ("我买了ABC牌", "ＡＢＣ", ["ABC"]),
        ("今天，天气很好！", "今天,天气很好!", ["今天，天气很好！"]),
        ("a quick,brown fox", "quick，brown", ["quick,brown"]),
        ("ﾊﾞﾅﾅとバナナ", "バナナ", ["ﾊﾞﾅﾅ", "バナナ"]),
        ("the ﬁnal oﬃce", "ffi", ["ﬃ"]),
        ("e\u0301te\u0301 and été", "ÉTÉ", ["e\u0301te\u0301", "été"]),
        ("été", "e\u0301te\u0301", ["été"]),
        ("e\u0301te\u0301", "e", ["e", "e"]),
        ("wait… here", "wait...", ["wait…"]),
        ("１２３-456", "123-456", ["１２３-456"]),
        ("no\u00a0break", "no break", ["no\u00a0break"]),
        ("한글", "한글", ["한글"]),
    ],
)
async def test_it_is_found_and_marked_where_it_stands(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person, content: str, query: str, places: list[str]
) -> None:
    item = await one(archive, as_ana, ana, content, q=query)

    assert marked(item, content) == places
    assert item["snippet"]["length"] == len(content)
    assert item["snippet"]["text"] == content


async def test_the_snippet_of_a_long_text_is_around_the_place(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    content = "今天，㎡ " * REACH + "ＡＢＣ ABC" + " ㎡" * REACH

    item = await one(archive, as_ana, ana, content, q="abc")

    snippet = item["snippet"]
    assert marked(item, content) == ["ＡＢＣ", "ABC"]
    assert content[snippet["start"] :].startswith(snippet["text"])
    assert "ＡＢＣ ABC" in snippet["text"]


async def test_a_pattern_sees_both_forms(archive: Archive, as_ana: httpx.AsyncClient, ana: Person) -> None:
    content = "型番はＡＢＣ１２３です"

    by_form = await one(archive, as_ana, ana, content, q="[A-Z]{3}[0-9]{3}", match="regex")
    as_it_is = await one(archive, as_ana, ana, content, q="[Ａ-Ｚ]{3}", match="regex")

    assert marked(by_form, content) == ["ＡＢＣ１２３"]
    assert marked(as_it_is, content) == ["ＡＢＣ"]


async def test_matches_in_another_form_count_for_relevance(
    archive: Archive, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    home = await archive.conversation(ana.id)
    once, thrice = await archive.messages(ana.id, home, "ABC and more", "ＡＢＣ ＡＢＣ ABC")

    assert await found(as_ana, conversation_id=str(home), q="abc", sort="-relevance") == [thrice, once]


async def test_names_and_titles_too(services: Services, as_admin: httpx.AsyncClient) -> None:
    made = (await as_admin.post("/api/users", json={"email": "wang@example.com", "name": "王ＸＹ（小）"})).json()
    await new_conversation(as_admin, title="Ⅳ：ﾃｽﾄ")
    assert [each["id"] for each in await items(as_admin, "/api/users", q="xy(小)")] == [made["id"]]
    assert [each["id"] for each in await items(as_admin, "/api/users", name__has="王XY")] == [made["id"]]
    assert [each["title"] for each in await items(as_admin, "/api/conversations", q="iv:テスト")] == ["Ⅳ：ﾃｽﾄ"]

    await as_admin.patch(f"/api/users/{made['id']}", json={"name": "王小明"})

    assert await items(as_admin, "/api/users", q="xy") == []
    row = await User.get_pymongo_collection().find_one({"_id": ObjectId(made["id"])})
    assert row is not None
    assert row[form_path("name")] is None


async def test_every_way_into_a_conversation_stores_the_form(services: Services, as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana, title="any")
    await say(as_ana, made, "ＡＢＣ")
    await as_ana.post(f"/api/conversations/{made['id']}/turns", json={"content": "repeat ＸＹＺ", "model": "echo"})
    await as_ana.post(f"/api/conversations/{made['id']}/fork", json={"seq": 1})

    rows = await Message.get_pymongo_collection().find({FORM: {"$gt": ""}}).to_list()
    wire = [
        await as_ana.get(f"/api/conversations/{made['id']}/messages"),
        await as_ana.get("/api/messages/export", params={"format": "jsonl"}),
    ]

    assert len(await found(as_ana, q="xyz")) == 2, "the question and the answer, which repeats it"
    assert len(await found(as_ana, q="abc")) == 2, "the message and its copy in the fork"
    assert len(rows) == 4
    assert not any("nfkc" in each.text for each in wire)
