"""Transcripts from the database: in the list's order, whole, resumable, bounded, along an index."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.conversations.resource import CONVERSATIONS
from app.exports.training import reading
from app.exports.training.model import Transcript
from app.kit.listing import parse_listing
from app.kit.paging import Position
from app.kit.repository import EVERYTHING
from app.services import Services
from tests.conftest import Person
from tests.exports.files import fill

pytestmark = pytest.mark.mongod

LISTING = parse_listing(CONVERSATIONS, [], paged=False)


@pytest.fixture
def source(services: Services) -> reading.TranscriptSource:
    return services.transcripts(lambda _: EVERYTHING)


async def read(source: reading.TranscriptSource, **options: Any) -> list[list[Transcript]]:
    return [batch async for batch in source.batches(LISTING, **options)]


def first_words(batches: Sequence[Sequence[Transcript]]) -> list[list[str]]:
    return [[str(each.messages[0]["content"]).split()[0] for each in batch] for batch in batches]


async def test_transcripts_come_whole_and_in_order(
    source: reading.TranscriptSource, services: Services, ana: Person, ben: Person
) -> None:
    for number, person in enumerate((ana, ben, ana)):
        await fill(services, person.id, [f"{number}", *"abcdefghijkl"])

    (batch,) = await read(source)
    assert first_words([batch]) == [["0", "1", "2"]]
    for transcript in batch:
        assert [row["seq"] for row in transcript.messages] == list(range(1, 14))
        assert transcript.is_whole


async def test_batches_have_few_messages_or_one_conversation(
    source: reading.TranscriptSource, services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MESSAGES_AT_ONCE", 4)
    for number, count in enumerate((2, 2, 1, 9, 1)):
        await fill(services, ana.id, [str(number)] * count)

    assert first_words(await read(source)) == [["0", "1"], ["2"], ["3"], ["4"]]


async def test_reading_goes_on_behind_a_conversation(
    source: reading.TranscriptSource, services: Services, ana: Person
) -> None:
    for number in range(5):
        await fill(services, ana.id, [str(number)])
    (batch,) = await read(source)
    second = batch[1].conversation

    start = Position.of({**second, "created_at": second["created_at"]}, LISTING.sort)
    assert first_words(await read(source, start=start)) == [["2", "3", "4"]]


async def test_more_than_a_reply_holds_is_read_one_by_one_and_a_giant_in_part(
    source: reading.TranscriptSource, services: Services, ana: Person
) -> None:
    mebibyte = "x" * (1 << 20)
    for number, count in enumerate((8, 17, 8)):
        await fill(services, ana.id, [f"{number} {mebibyte}"[: 1 << 20]] * count)

    batches = await read(source)
    assert first_words(batches) == [["0"], ["1"], ["2"]]
    assert [batch[0].is_whole for batch in batches] == [True, False, True]
    giant = [row["seq"] for row in batches[1][0].messages]
    assert giant == list(range(1, len(giant) + 1))
    assert 14 <= len(giant) < 17


async def test_of_very_many_messages_the_first_are_read(
    source: reading.TranscriptSource, services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_MESSAGES", 6)
    await fill(services, ana.id, ["0"] * 7)
    await fill(services, ana.id, ["1"] * 6)

    batches = await read(source)
    assert [(len(each.messages), each.is_whole) for batch in batches for each in batch] == [(6, False), (6, True)]


async def test_messages_are_read_along_their_index(services: Services, ana: Person) -> None:
    ids = [(await fill(services, ana.id, ["a", "b"]))[0]["conversation_id"] for _ in range(100)]
    command = {
        "find": services.conversations.messages.collection.name,
        "filter": {"conversation_id": {"$in": ids}, "deleted_at": None},
        "sort": {"seq": 1},
        "hint": "seq_v1",
    }
    plan = await services.database.client[services.database.name].command("explain", command)
    text = repr(plan["queryPlanner"]["winningPlan"])
    assert "SORT_MERGE" in text
    assert "'SORT'" not in text
