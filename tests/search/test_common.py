"""What very many rows have is read along the list, no further than a page of it is thought to go."""

import asyncio

import pytest

from app.config import Settings
from app.conversations.repository import MessageRepository
from app.database import Database
from app.search.building import Text
from app.search.index import TextIndex
from app.search.plans import Sought
from app.search.segments import Outline
from app.search.spans import HIGHEST, LOWEST, Span
from app.search.store import IndexStore
from tests.conversations.profiling import profiled
from tests.search.segments import OWNERS, build
from tests.search.stored import build as build_index
from tests.search.stored import found, segment_ids, store

ROWS = 40_000
NEWEST = Span(LOWEST, HIGHEST, is_descending=True)


def sought(*literals: str) -> Sought:
    made = Sought.of([literals], owner=None, group=None)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def outline() -> Outline:
    """Of rows of which every second one has `tea`, every tenth `jam`, and one in a thousand `fig`."""
    words = [
        "tea" * (number % 2 == 0) + " jam" * (number % 10 == 0) + " fig" * (number % 1000 == 0)
        for number in range(ROWS)
    ]
    rows = [
        Text((number, number.to_bytes(12)), OWNERS[number % 4 == 0], OWNERS[0], word)
        for number, word in enumerate(words)
    ]
    return build(rows, at_once=ROWS).outline


def test_an_outline_tells_the_share_of_what_is_common_and_nothing_of_others(outline: Outline) -> None:
    assert outline.share_of(b"tea") == 0.5
    assert outline.share_of(b"fig") == 0
    assert outline.share_of(b"no such") == 0


@pytest.mark.parametrize(
    ("literals", "share"), [(["tea"], 0.5), (["tea", "fig"], 0.5), (["fig"], 0), (["teapot"], 0), (["nothing"], 0)]
)
def test_the_share_of_what_is_sought_is_that_of_its_rarest_term(
    outline: Outline, literals: list[str], share: float
) -> None:
    assert sought(*literals).share(outline) == share


def test_chunks_are_told_from_either_end(outline: Outline) -> None:
    newest, oldest = NEWEST.first_keys(outline, 3), Span(LOWEST, HIGHEST, False).first_keys(outline, 3)

    assert [time for time, _ in newest] == [39_680, 39_808, 39_936]
    assert [time for time, _ in oldest] == [0, 128, 256]
    part = Span((1000, LOWEST[1]), (1200, HIGHEST[1]), is_descending=True)
    assert [time for time, _ in part.first_keys(outline, 3)] == [1024, 1152]


@pytest.fixture
async def many(messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch) -> int:
    """Messages with tea, in segments that take all to be common, and some that wait."""
    await store(messages, *[f"tea {number}" for number in range(300)])
    await build_index(index)
    await store(messages, *["tea"] * 5)
    await index.lookup.warm()
    monkeypatch.setattr(Outline, "share_of", lambda *_: 1.0)
    return 305


@pytest.mark.mongod
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
async def test_a_page_of_what_is_common_is_one_query_along_the_list(
    messages: MessageRepository, many: int, empty_database: Database, sort: str
) -> None:
    async with profiled(empty_database) as profile:
        assert len(await found(messages, "tea", sort=sort, limit="50")) == many
        entries = await profile.read("messages")

    assert not [entry for entry in entries if "COLLSCAN" in entry.get("planSummary", "")]
    first = entries[0]
    assert (first["nreturned"], first["planSummary"].count("created_at")) == (51, 1)
    assert not first.get("hasSortStage")


@pytest.mark.mongod
async def test_outlines_are_at_hand_soon_after_the_start(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a process that does not build, which the first search would else have to read."""
    await store(messages, *["tea"] * 40)
    await build_index(index)
    is_read = asyncio.Event()
    read = IndexStore.outlines

    async def read_and_tell(self: IndexStore, ids: list[object]) -> list[Outline]:
        found = await read(self, ids)  # type: ignore[arg-type]
        is_read.set()
        return found

    monkeypatch.setattr(IndexStore, "outlines", read_and_tell)
    other.open(builds=False)
    await asyncio.wait_for(is_read.wait(), 10)
    await asyncio.sleep(0)
    assert other.lookup.edge(sought("tea"), NEWEST, 1) is None
    assert set(other.lookup._outlines) == set(await segment_ids())
    assert not other.builder.is_holder


def test_one_scan_at_a_time_unless_more_are_allowed() -> None:
    assert Settings(_env_file=None).max_scans == 1
