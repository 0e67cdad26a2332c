"""What is asked, and the proof that answers are right: the proof has to fail when they are not."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.database import Database
from bench.asking import Client, Reply, check, walk
from bench.deep import deep_pages
from bench.questions import Question, Texts
from bench.stored import Stored
from tests.conftest import Person


def _matching(texts: Sequence[str], question: Question) -> int:
    flags = 0 if question.case_sensitive else re.IGNORECASE
    return sum(re.search(question.pattern, text, flags) is not None for text in texts)


async def test_strings_are_as_frequent_as_their_kind_says(stored: Stored) -> None:
    kinds = {kind.name.partition(" (")[0]: kind for kind in Texts(stored.texts).kinds()}
    hits = {name: [_matching(stored.texts, question) for question in kind.questions] for name, kind in kinds.items()}
    assert set(hits["absent, as long as a word"]) == {0}
    for rare in ("word, rare", "2 Chinese characters, rare"):
        assert all(5 <= count <= 20 for count in hits[rare])
    assert all(count > 40 for count in hits["word, common"])
    assert all(count >= 1 for count in hits["phrase of 12 to 30 characters"])
    for name, kind in kinds.items():
        assert sorted(hits[name])[(len(hits[name]) - 1) // 2] <= kind.hits <= sorted(hits[name])[len(hits[name]) // 2]


async def test_the_same_texts_are_asked_the_same(stored: Stored) -> None:
    assert Texts(stored.texts).kinds() == Texts(stored.texts).kinds()


def _changed(reply: Reply, **members: Any) -> Reply:
    return replace(reply, content=json.dumps({**reply.body, **members}).encode())


@pytest.fixture
def port(live_url: str) -> int:
    found = urlsplit(live_url).port
    assert found is not None
    return found


@pytest.mark.mongod
@pytest.mark.parametrize(
    "question",
    [
        Question("please"),
        Question("电影"),
        Question("C", case_sensitive=True),
        Question("[0-9]{4}", "regex"),
        Question("(is|知)", "regex"),
        Question("nowhere"),
    ],
    ids=str,
)
async def test_right_answers_pass_and_wrong_ones_do_not(
    stored: Stored, port: int, admin: Person, empty_database: Database, question: Question
) -> None:
    messages = empty_database.client[empty_database.name].messages
    async with Client(port, admin.key) as client:
        replies = await walk(client, question)
    await check(messages, {}, question, replies)
    items = replies[0].body["items"]
    assert bool(items) == (question.text != "nowhere")
    if items:
        for wrong in (items[1:], items[::-1], [*items, items[0]]):
            with pytest.raises(RuntimeError, match="other than the scan's"):
                await check(messages, {}, question, [_changed(replies[0], items=wrong), *replies[1:]])


@pytest.mark.mongod
async def test_an_answer_that_stopped_early_may_lack_only_what_follows(
    stored: Stored, port: int, admin: Person, empty_database: Database
) -> None:
    messages = empty_database.client[empty_database.name].messages
    question = Question("e")
    async with Client(port, admin.key) as client:
        reply, *_ = await walk(client, question, pages=1)
    items = reply.body["items"]
    await check(messages, {}, question, [_changed(reply, items=items[:7], partial=True)])
    with pytest.raises(RuntimeError):
        await check(messages, {}, question, [_changed(reply, items=items[1:8], partial=True)])
    with pytest.raises(RuntimeError):
        await check(messages, {}, question, [_changed(reply, items=items[:7])])


@pytest.mark.mongod
async def test_an_owner_is_asked_about_their_own(stored: Stored, port: int, empty_database: Database) -> None:
    messages, owner, question = empty_database.client[empty_database.name].messages, stored.owners[0], Question("e")
    async with Client(port, owner.key) as client:
        replies = await walk(client, question)
    await check(messages, {"owner_id": owner.id}, question, replies)
    with pytest.raises(RuntimeError):
        await check(messages, {}, question, replies)


@pytest.mark.mongod
async def test_deep_pages_have_the_rows_that_lie_there(
    stored: Stored, port: int, admin: Person, empty_database: Database
) -> None:
    made = await deep_pages(empty_database, port, admin.key, repeats=1)
    assert made.row_count == 2


@pytest.mark.mongod
async def test_a_refusal_is_told_by_its_code(port: int, admin: Person) -> None:
    async with Client(port, admin.key) as client:
        replies = await walk(client, Question("(", "regex"))
    assert [reply.outcome for reply in replies] == ["422 invalid_pattern"]
