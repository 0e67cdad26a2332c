"""Searches that read a list in slices find what one look at every row finds, each row once, however often they stop."""

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import ExecutionTimeout

from app.database import Database
from app.kit.effort import Effort
from app.kit.errors import QueryTooExpensive
from app.kit.listing import parse_listing
from app.kit.pages import Run
from app.kit.paging import Page
from app.kit.repository import EVERYTHING, Scope
from app.kit.scanning import Pace
from app.kit.turnstile import Turnstile
from tests.conversations.profiling import profiled
from tests.kit.samples import SAMPLES, SampleRepository, sample
from tests.kit.test_pages import opened
from tests.kit.test_paging import SORTS, START, mixed

pytestmark = pytest.mark.mongod
SECONDS = 4.0
"""The budget of a page in the time of these tests, which passes with each look at the clock."""
BAD = "a" * 3000 + "!"
"""A text that exhausts PCRE with the pattern `(a+)+$`."""


@dataclass
class Circumstances:
    """How fast the time goes, how much is read at first, and which queries the database gives up."""

    steps: Iterator[float] = field(default_factory=lambda: cycle([0.0]))
    pace: Pace = field(default_factory=Pace)
    failures: Iterator[bool] = field(default_factory=lambda: cycle([False]))
    now: float = 0.0
    queries: int = 0

    def clock(self) -> float:
        self.now += next(self.steps)
        return self.now


class Scanned(SampleRepository):
    """Samples that are searched under given circumstances."""

    circumstances = Circumstances()

    @property
    def pace(self) -> Pace:  # type: ignore[override]
        return self.circumstances.pace

    def effort(self, scope: Scope, seconds: float = 2) -> Effort:
        return Effort(self._turnstile, scope.asker, SECONDS, self.circumstances.clock)

    async def _read(self, *args: Any, **options: Any) -> Run:
        self.circumstances.queries += 1
        if next(self.circumstances.failures):
            raise ExecutionTimeout("operation exceeded time limit", 50)
        return await super()._read(*args, **options)


@pytest.fixture
def scanned(samples: SampleRepository) -> Scanned:
    repository = Scanned(samples._cursors, samples.collection)
    repository.circumstances = Circumstances()
    return repository


async def insistent(samples: SampleRepository, **parameters: Any) -> Page:
    """The page; asked for again while there is no progress, which in these circumstances is a matter of luck."""
    for _ in range(50):
        try:
            return await opened(samples, **parameters)
        except QueryTooExpensive:
            continue
    return await opened(samples, **parameters)


Between = Callable[[], Awaitable[None]]


async def walk(
    samples: SampleRepository, side: str, start: Page, between: Between | None = None, **asked: Any
) -> list[Page]:
    """The pages on one side of another one, up to the end of the list."""
    pages = [start]
    while (cursor := pages[-1].next if side == "after" else pages[-1].prev) is not None:
        assert len(pages) < 500
        if between is not None:
            await between()
        pages.append(await insistent(samples, **{side: cursor}, **asked))
    return pages[1:]


def ids(pages: Sequence[Page]) -> list[ObjectId]:
    return [row["_id"] for page in pages for row in page.rows]


def check(pages: Sequence[Page], side: str, limit: int) -> None:
    for page in pages:
        assert len(page.rows) <= limit
        has_more = (page.next if side == "after" else page.prev) is not None
        assert page.partial == (len(page.rows) < limit and has_more)


rows_of = st.lists(
    st.builds(
        lambda title, rank, day, seen: {
            "title": title,
            **({"rank": rank} if rank != "none" else {}),
            "created_at": START.replace(day=day),
            "seen_at": None if seen is None else START.replace(day=seen),
        },
        st.sampled_from(["x", "y", "xy", "-", "--"]),
        st.sampled_from([None, "none", 0, 1, 2]),
        st.integers(1, 3),
        st.sampled_from([None, None, 1, 2]),
    ),
    max_size=30,
)


def by_lot(seed: int, slowest: float, failing: float, first_rows: int, most_rows: int) -> Circumstances:
    """Time that passes, and queries that fail, by lot."""
    lot = random.Random(seed)
    steps = iter(lambda: lot.choice([0.0, 0.001, 0.05, slowest]), None)
    failures = iter(lambda: lot.random() < failing, None)
    return Circumstances(steps, Pace(first_rows=first_rows, most_rows=most_rows), failures)


circumstances = st.builds(
    by_lot,
    st.integers(0, 999),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.integers(1, 9),
    st.integers(1, 20),
)
QUERIES: list[dict[str, str]] = [
    {"q": "x"},
    {"q": "^x?y", "match": "regex"},
    {"title__has": "y", "q": "x"},
    {"q": "nothing"},
    {"q": "x", "rank__exists": "true"},
]
slow = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@given(rows_of, st.sampled_from(SORTS), st.sampled_from(QUERIES), st.integers(1, 8), circumstances)
@slow
async def test_the_pages_of_a_search_are_what_it_finds(
    scanned: Scanned,
    stored: list[dict[str, Any]],
    sort: str,
    query: dict[str, str],
    limit: int,
    given_circumstances: Circumstances,
) -> None:
    await scanned.collection.delete_many({})
    if stored:
        await scanned.collection.insert_many([sample(number, **row) for number, row in enumerate(stored)])
    listing = parse_listing(SAMPLES, [("sort", sort), *query.items()])
    whole = await scanned.collection.find(EVERYTHING.where(*listing.all_conditions), sort=listing.sort.keys).to_list()
    scanned.circumstances = given_circumstances
    asked: dict[str, Any] = {"sort": sort, "limit": limit, **query}

    first = await insistent(scanned, **asked)
    there = [first, *await walk(scanned, "after", first, **asked)]
    back = await walk(scanned, "before", there[-1], **asked)

    assert ids(there) == [row["_id"] for row in whole]
    assert ids([*back[::-1], there[-1]]) == ids(there)
    check(there, "after", limit)
    check(back, "before", limit)


@given(st.sampled_from(SORTS), st.integers(1, 7), circumstances, st.sampled_from(["after", "before"]))
@settings(slow, max_examples=30)
async def test_rows_that_stay_are_found_once_while_others_come_and_go(
    scanned: Scanned, sort: str, limit: int, given_circumstances: Circumstances, side: str
) -> None:
    rows = mixed(40)
    await scanned.collection.delete_many({})
    await scanned.collection.insert_many(rows)
    going, staying = rows[:10], {row["_id"] for row in rows[10:] if "3" in row["title"]}
    asked: dict[str, Any] = {"sort": sort, "limit": limit, "q": "3"}
    start = await insistent(scanned, **asked)
    if side == "before":
        start = (await walk(scanned, "after", start, **asked) or [start])[-1]
        found = {row["_id"] for row in start.rows}
    else:
        found = set(ids([start]))
    number = 1000

    async def between() -> None:
        nonlocal number
        new = [{**row, "_id": ObjectId(), "number": number + row["number"]} for row in mixed(5)]
        number += 10
        await scanned.collection.insert_many(new)
        if going:
            await scanned.collection.delete_one({"_id": going.pop()["_id"]})

    scanned.circumstances = given_circumstances
    changes = iter(range(8))

    async def between_some() -> None:
        if next(changes, None) is not None:
            await between()

    pages = await walk(scanned, side, start, between_some, **asked)

    seen = ids([start, *pages])
    assert len(seen) == len(set(seen))
    assert staying <= set(seen) | found


async def test_a_page_without_a_find_leads_on(scanned: Scanned) -> None:
    await scanned.collection.insert_many([sample(number) for number in range(40)])
    asked: dict[str, Any] = {"sort": "number", "q": "t37"}
    scanned.circumstances = Circumstances(cycle([0.3]), Pace(first_rows=5, most_rows=5))

    first = await opened(scanned, **asked)
    pages = [first, *await walk(scanned, "after", first, **asked)]

    assert (first.rows, first.partial, first.prev) == ([], True, None)
    assert len(pages) > 2
    assert [row["number"] for page in pages for row in page.rows] == [37]
    assert not pages[-1].partial


async def test_a_full_page_does_not_look_for_more(scanned: Scanned) -> None:
    await scanned.collection.insert_many([sample(number, title="x" if number < 3 else "-") for number in range(500)])
    scanned.circumstances = Circumstances(pace=Pace(first_rows=10))

    page = await opened(scanned, sort="number", q="x", limit=3)

    assert ([row["number"] for row in page.rows], page.partial) == ([0, 1, 2], False)
    assert scanned.circumstances.queries == 2
    following = await opened(scanned, sort="number", q="x", limit=3, after=page.next)
    assert (following.rows, following.next) == ([], None)


async def test_slices_grow_while_they_are_quick_and_shrink_when_they_are_not() -> None:
    pace = Pace()

    assert pace.next_rows(128, 0.001) == 1024
    assert pace.next_rows(128, 0.15) == 64
    assert pace.next_rows(1, 100) == 1
    assert pace.next_rows(100_000, 0) == 100_000
    assert [pace.fewer_rows(128), pace.fewer_rows(3)] == [16, 1]


async def test_a_text_that_is_too_complex_is_named_behind_all_that_comes_before_it(scanned: Scanned) -> None:
    titles = ["aaa", "b", "baa", BAD, "a"]
    await scanned.collection.insert_many([sample(number, title=title) for number, title in enumerate(titles)])
    asked = {"sort": "number", "q": "(a+)+$", "match": "regex"}

    first = await opened(scanned, **asked)
    assert ([row["number"] for row in first.rows], first.partial) == ([0, 2], True)
    bad = await scanned.collection.find_one({"number": 3})
    assert bad is not None
    with pytest.raises(QueryTooExpensive, match=f"id__ne={bad['_id']}"):
        await opened(scanned, after=first.next, **asked)

    rest = await opened(scanned, id__ne=bad["_id"], **asked)
    assert ([row["number"] for row in rest.rows], rest.partial) == ([0, 2, 4], False)
    with pytest.raises(QueryTooExpensive):
        await opened(scanned, **{**asked, "sort": "-number"}, limit=1, after=(await last_of(scanned, asked)).next)


async def last_of(samples: SampleRepository, asked: dict[str, str]) -> Page:
    """The page that ends just behind the text that is too complex, read from the other end."""
    page = await opened(samples, **{**asked, "sort": "-number"}, limit=1)
    assert [row["number"] for row in page.rows] == [4]
    following = await opened(samples, **{**asked, "sort": "-number"}, limit=1, after=page.next)
    assert (following.rows, following.partial) == ([], True)
    return following


async def test_a_search_that_comes_nowhere_is_too_expensive(scanned: Scanned) -> None:
    await scanned.collection.insert_many([sample(number) for number in range(9)])
    scanned.circumstances = Circumstances(cycle([0.1]), failures=cycle([True]))

    with pytest.raises(QueryTooExpensive):
        await opened(scanned, q="t")


async def test_a_search_that_an_index_answers_takes_no_place(database: Database, samples: SampleRepository) -> None:
    closed = Turnstile(0, wait_seconds=0)
    rows = SampleRepository(database.cursors, samples.collection, closed)
    await samples.collection.insert_one(sample(1))

    assert (await rows.page(Scope(asker="ana"), parse_listing(SAMPLES, []))).rows
    with pytest.raises(Exception, match="Too many searches"):
        await rows.page(Scope(asker="ana"), parse_listing(SAMPLES, [("q", "t1")]))
    assert (await rows.page(EVERYTHING, parse_listing(SAMPLES, [("q", "t1")]))).rows


async def test_what_runs_out_of_time_leaves_nothing_behind_on_the_server(samples: SampleRepository) -> None:
    """A row takes the pattern about 0.1 s."""
    await samples.collection.insert_many([sample(number, title="a" * 500) for number in range(200)])

    page = await opened(samples, q=".{1,30}.*[yz]", match="regex")

    admin = samples.collection.database.client.admin
    running = await admin.command({"currentOp": True, "active": True, "ns": {"$regex": "samples$"}})
    assert page.partial
    assert running["inprog"] == []


async def test_every_query_of_a_search_has_a_limit_of_time(database: Database, samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(number) for number in range(3000)])
    async with profiled(database) as profile:
        assert (await opened(samples, q="t2999", count="exact")).total == 1
        entries = await profile.read(samples.collection.name)
    assert len(entries) > 3
    assert all(0 < entry["command"]["maxTimeMS"] <= 2000 for entry in entries if entry["op"] != "getmore")


@pytest.mark.parametrize("sort", ["title", "-title"])
async def test_a_slice_among_many_equal_values_reads_its_own_rows(
    database: Database, scanned: Scanned, sort: str
) -> None:
    await scanned.collection.create_index([("title", 1), ("_id", 1)])
    await scanned.collection.insert_many([sample(number, title="same", note="n") for number in range(2000)])
    scanned.circumstances = Circumstances(pace=Pace(first_rows=100, most_rows=100))
    async with profiled(database) as profile:
        page = await opened(scanned, sort=sort, q="nothing")
        entries = await profile.read(scanned.collection.name)
    await scanned.collection.drop_indexes()
    assert (page.rows, page.next) == ([], None)
    assert len(entries) == 42
    assert max(entry["keysExamined"] for entry in entries) <= 205
