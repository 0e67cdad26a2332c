"""A page costs the same however deep it lies, and a count no more than it may."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import IndexModel

from app.database import Database
from app.kit.errors import QueryTooExpensive
from app.kit.listing import COUNT_LIMIT, parse_listing
from app.kit.paging import Position
from app.kit.repository import Row
from tests.conversations.profiling import profiled
from tests.kit.samples import SAMPLES, SampleRepository, sample
from tests.kit.test_pages import opened
from tests.kit.test_paging import START


async def counted(samples: SampleRepository, **parameters: str) -> int | None:
    return (await opened(samples, limit=1, **parameters)).total


@pytest.mark.mongod
async def test_an_exact_total_counts_all_and_an_estimate_stops_at_its_limit(samples: SampleRepository) -> None:
    rows: list[Row] = [sample(number, rank=number % 2) for number in range(10_050)]
    await samples.collection.insert_many([*rows, sample(-1, state="gone")])

    assert await counted(samples, count="exact") == 10_050
    assert await counted(samples, count="estimate") == 10_000
    assert await counted(samples, count="exact", rank="1") == 5025
    assert await counted(samples, count="estimate", rank="1") == 5025
    assert await counted(samples, count="exact", title="nothing") == 0


PAGE = 20
PAGES = 10_000
DEEP_ORDERS = ["title", "rank", "created_at", "number"]


@pytest.fixture(scope="module")
async def crowd(database: Database) -> AsyncIterator[SampleRepository]:
    """220,000 rows made by the database, with ten titles, and a third of them without a rank."""
    number = {"$toInt": "$number"}
    made = {
        "number": number,
        "state": "new",
        "title": {"$toString": {"$mod": [number, 10]}},
        "rank": {"$cond": [{"$mod": [number, 3]}, {"$mod": [number, 7]}, None]},
        "created_at": {"$add": [START, {"$multiply": [number, 1000]}]},
    }
    collection = database.client[database.name]["crowd"]
    pipeline: list[dict[str, Any]] = [
        {"$documents": [{"number": {"$range": [0, 11 * PAGE * PAGES // 10]}}]},
        {"$unwind": "$number"},
        {"$project": made},
        {"$out": collection.name},
    ]
    await (await collection.database.aggregate(pipeline)).to_list()
    await collection.create_indexes([IndexModel([(path, 1), ("_id", 1)]) for path in DEEP_ORDERS])
    yield SampleRepository(database.cursors, collection)
    await collection.drop()


@pytest.mark.mongod
@pytest.mark.slow
async def test_page_ten_thousand_costs_what_the_first_one_costs(database: Database, crowd: SampleRepository) -> None:
    async with profiled(database) as profile:

        async def cost(count: int, **parameters: str) -> tuple[int, int]:
            """Keys and documents that the database read for a page."""
            await profile.read()
            assert len((await opened(crowd, **parameters)).rows) == count
            [entry] = [each for each in await profile.read(crowd.collection.name) if each["op"] == "query"]
            assert not entry.get("hasSortStage"), (parameters, entry["planSummary"])
            return entry["keysExamined"], entry["docsExamined"] - had_already(entry["execStats"])

        for sort in (sign + path for path in DEEP_ORDERS for sign in ("", "-")):
            order = parse_listing(SAMPLES, [("sort", sort)]).sort
            deep = PAGE * (PAGES - 1) - 1
            [row] = await crowd.collection.find({}, sort=order.keys, skip=deep, limit=1).to_list()
            cursor = cursor_at(crowd, row, sort)
            first = await cost(PAGE, sort=sort)
            for place in ({"after": cursor}, {"before": cursor}):
                there = await cost(PAGE, sort=sort, **place)
                assert all(now <= 1.2 * then for now, then in zip(there, first, strict=True)), (sort, first, there)


def had_already(stage: dict[str, Any]) -> int:
    """Documents that a stage counted although the one below had read them."""
    below = stage.get("inputStages") or [each for each in [stage.get("inputStage")] if each]
    return int(stage.get("alreadyHasObj", 0)) + sum(had_already(each) for each in below)


def cursor_at(crowd: SampleRepository, row: Row, sort: str) -> str:
    """What a page that ends with the row gives as its `next`."""
    listing = parse_listing(SAMPLES, [("sort", sort)])
    return crowd._cursors.encode(listing.fingerprint + repr({}).encode(), Position.of(row, listing.sort))


@pytest.mark.mongod
async def test_an_estimate_reads_no_further_than_its_limit(database: Database, crowd: SampleRepository) -> None:
    async with profiled(database) as profile:
        assert await counted(crowd, count="estimate") == COUNT_LIMIT
        [entry] = [each for each in await profile.read(crowd.collection.name) if each["op"] == "command"]
    assert entry["docsExamined"] <= COUNT_LIMIT + 1


@pytest.mark.mongod
async def test_a_count_over_its_budget_is_refused(crowd: SampleRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.kit.repository.SEARCH_SECONDS", 0.005)  # 220,000 rows take much longer

    assert (await opened(crowd, sort="number", limit=1)).total is None
    with pytest.raises(QueryTooExpensive, match="leave `count` out"):
        await opened(crowd, sort="number", limit=1, count="exact")
