"""What is searched: messages made of real ones, and their rows."""

from itertools import chain, pairwise
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.conversations.model import Message
from app.database import Database
from bench.corpus import Corpus, CorpusMissing
from bench.stored import Stored
from tests.bench.conftest import CHINESE, ENGLISH, SIZE
from tests.conftest import Person, client_of


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text) or text[0].isdigit()


def test_equal_seeds_give_equal_messages(corpus: Corpus) -> None:
    once, again, other = (list(corpus.conversations(SIZE, seed=seed)) for seed in (1, 1, 2))
    assert once == again
    assert once != other


@pytest.mark.parametrize("size", [1, 9, 400])
def test_it_has_as_many_messages_as_were_asked_for(corpus: Corpus, size: int) -> None:
    assert sum(map(len, corpus.conversations(size))) == size


def test_half_of_it_is_chinese_and_a_conversation_has_one_language(corpus: Corpus) -> None:
    chinese = 0
    for conversation in corpus.conversations(2000):
        languages = {_is_chinese(text) for text in conversation}
        assert len(languages) == 1
        chinese += len(conversation) * languages.pop()
    assert chinese == pytest.approx(1000, abs=40)


def test_messages_are_made_of_real_clauses_and_are_about_as_long(corpus: Corpus) -> None:
    real = [clause for language in corpus.languages for message in language.messages for clause in message]
    assert {"Okay,", "anything else?", "嗯，"} <= set(real)
    texts = list(chain.from_iterable(corpus.conversations(2000)))
    unnamed = [text for text in texts if any(text.startswith(clause) for clause in real)]
    assert len(unnamed) > 1800
    mean = (sum(map(len, ENGLISH)) / len(ENGLISH) + sum(map(len, CHINESE)) / len(CHINESE)) / 2
    assert sum(map(len, unnamed)) / len(unnamed) == pytest.approx(mean, rel=0.1)


def test_more_messages_have_more_words(corpus: Corpus) -> None:
    few, many = (
        set(chain.from_iterable(text.split() for texts in corpus.conversations(size) for text in texts))
        for size in (500, 5000)
    )
    assert len(many) > 2 * len(few)


def test_without_transcripts_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CorpusMissing, match="BENCH_DATA"):
        Corpus.read(tmp_path)


async def test_rows_are_those_of_the_product(stored: Stored, empty_database: Database) -> None:
    rows = await empty_database.client[empty_database.name].messages.find({}).to_list()
    assert len(rows) == len(stored.texts) == SIZE
    for row in rows:
        assert Message.model_validate(row).to_row() == row


async def test_conversations_number_their_messages_in_time(stored: Stored, empty_database: Database) -> None:
    collections = empty_database.client[empty_database.name]
    conversations = await collections.conversations.find({}).to_list()
    assert sum(each["message_count"] for each in conversations) == SIZE
    for conversation in conversations:
        rows = await collections.messages.find({"conversation_id": conversation["_id"]}, sort=[("seq", 1)]).to_list()
        assert [row["seq"] for row in rows] == list(range(1, conversation["last_seq"] + 1))
        assert {row["owner_id"] for row in rows} == {conversation["owner_id"]}
        assert all(earlier["created_at"] < later["created_at"] for earlier, later in pairwise(rows))


async def test_owners_come_with_keys_and_see_their_own(stored: Stored, app: FastAPI) -> None:
    owner = stored.owners[0]
    async with client_of(app, Person(owner.id, "", owner.key)) as client:
        items = (await client.get("/api/messages?limit=1000")).json()["items"]
    assert 0 < len(items) < SIZE
    assert {item["owner_id"] for item in items} == {str(owner.id)}
