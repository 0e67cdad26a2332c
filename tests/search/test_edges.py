"""Edges of texts: what is asked at the beginning or the end is found where the database finds it."""

import random
from typing import Any

import pytest
from pymongo import MongoClient

from app.conversations.repository import MessageRepository
from app.kit.literals import literals_of_pattern
from app.kit.repository import Row
from app.search.index import TextIndex
from app.search.model import SearchSegment
from app.search.plans import Sought
from app.search.segments import Outline
from app.search.terms import terms_of_text
from tests.expressions import evaluated
from tests.search.conftest import SMALL
from tests.search.stored import build, found, segment_ids, store

pytestmark = pytest.mark.mongod

EDGES = ("^", "^", "$", "$", "\\A", "\\Z", "\\z", "(?:^|b)", "(?:$|b)", "(^a|b)", "(a|b$)", "^*", "$+", "(?m)", "(?-m)")
OTHERS = (
    *("a", "a", "ab", "b", "B", "京", "京a", "，", "1", "abc", "cab", ",", ".", ".*", "a?", "[ab]", "(?=a)", "\\b"),
    *("\n", "\\n", "\\r", "\\s", "\x02", "\\x03", "[\x02a]"),
)
PARTS = (
    *("a", "b", "ab", "abc", "京", "京东", "，", "1", " ", "\x02", "\x03"),
    *("\n", "\n", "\r\n", "\r", "\x0b", "\u2028", "\x85"),
)
CONTENTS = ("latte first", "then a latte", *(f"a latte in the middle {number}" for number in range(40)))


def test_a_text_that_the_database_finds_has_the_terms_that_are_looked_up(mongo_uri: str) -> None:
    dice = random.Random(5)
    texts = ["", *("".join(dice.choices(PARTS, k=dice.randint(1, 5))) for _ in range(600))]
    has = {text: {term.encode() for term in terms_of_text(text)} for text in texts}
    told = 0
    client: MongoClient[Row]
    with MongoClient(mongo_uri) as client:
        for _ in range(3000):
            pattern = "".join(dice.choice(EDGES if dice.random() < 0.3 else OTHERS) for _ in range(dice.randint(1, 6)))
            sought = Sought.of(literals_of_pattern(pattern), owner=None, group=None)
            if sought is None:
                continue
            is_found = {"$regexMatch": {"input": "$$this", "regex": {"$literal": pattern}, "options": "i"}}
            matched = evaluated(client, {"$filter": {"input": {"$literal": texts}, "cond": is_found}}) or []
            told += bool(matched)
            for text in matched:
                for needs in (sought.needs, sought.edgeless):
                    assert all(any(has[text] >= set(terms) for terms in need) for need in needs), (pattern, text)
    assert told > 200


async def candidates(
    index: TextIndex, messages: MessageRepository, query: str, match: str = "regex"
) -> tuple[int, int]:
    """How many messages are found, and how many the index proposes."""
    looked_at = 0
    keys = type(index.lookup).keys

    async def counted(*arguments: Any) -> Any:
        nonlocal looked_at
        async for batch in keys(*arguments):
            looked_at += len(batch)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(index.lookup), "keys", counted)
        return len(await found(messages, query, match=match)), looked_at


async def test_only_messages_that_begin_or_end_with_it_are_looked_at(
    messages: MessageRepository, index: TextIndex
) -> None:
    await store(messages, *CONTENTS)
    await build(index)

    assert await candidates(index, messages, "^latte") == (1, 1)
    assert await candidates(index, messages, "latte$") == (1, 1)
    assert await candidates(index, messages, "latte") == (42, 42)
    assert await candidates(index, messages, "la", "prefix") == (1, 1)


async def test_segments_of_older_versions_are_looked_into_without_edges(
    messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("app.search.building.terms_of_text", _terms_of_older_versions)
        await store(messages, *CONTENTS)
        await build(index)
    await SearchSegment.get_pymongo_collection().update_many({}, {"$unset": {"edges": ""}})
    older = await segment_ids()

    assert await candidates(index, messages, "^latte") == (1, 42)
    assert await candidates(index, messages, "la", "prefix") == (1, 0), "what no segment tells is better read in order"

    await store(messages, "latte, the youngest")
    await build(index)
    young = set(await segment_ids()) - set(older)
    outlines: list[Outline] = await index.store.outlines(list(young))
    assert [each.has_edges for each in outlines] == [True]
    assert await candidates(index, messages, "^latte") == (2, 43)


def _terms_of_older_versions(text: str, form: str | None = None) -> set[str]:
    return {term for term in terms_of_text(text, form) if "\2" not in term and "\3" not in term}


async def test_a_segment_that_older_ones_were_merged_into_has_no_edges(
    messages: MessageRepository, index: TextIndex
) -> None:
    for number in range(SMALL.fanout):
        await store(messages, *(f"latte {number} {word}" for word in range(SMALL.least)))
        await index.builder.round()
        if number == 0:
            await SearchSegment.get_pymongo_collection().update_many({}, {"$unset": {"edges": ""}})
    assert len(await segment_ids()) == SMALL.fanout
    await build(index)

    outlines = await index.store.outlines(await segment_ids())
    assert [each.has_edges for each in outlines] == [False]
