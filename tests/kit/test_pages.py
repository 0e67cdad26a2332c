"""A list read backwards is the list read forwards, whatever the order and whatever happens between two pages."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from bson import ObjectId

from app.kit.listing import parse_listing
from app.kit.paging import Page
from app.kit.repository import EVERYTHING
from tests.kit.samples import SAMPLES, SampleRepository, sample
from tests.kit.test_paging import SORTS, mixed

Between = Callable[[int], Awaitable[None]]


async def opened(samples: SampleRepository, **parameters: Any) -> Page:
    """The page of the parameters; those that are None are left out."""
    asked = [(name, str(value)) for name, value in parameters.items() if value is not None]
    return await samples.page(EVERYTHING, parse_listing(SAMPLES, asked))


async def forwards(samples: SampleRepository, **parameters: Any) -> list[Page]:
    pages = [await opened(samples, **parameters)]
    while pages[-1].next is not None:
        pages.append(await opened(samples, after=pages[-1].next, **parameters))
    return pages


async def backwards(samples: SampleRepository, start: Page, between: Between | None = None, **asked: Any) -> list[Page]:
    """The pages before one, the nearest first."""
    pages = [start]
    while pages[-1].prev is not None:
        if between is not None:
            await between(len(pages))
        pages.append(await opened(samples, before=pages[-1].prev, **asked))
    return pages[1:]


def ids(pages: Sequence[Page]) -> list[ObjectId]:
    return [row["_id"] for page in pages for row in page.rows]


@pytest.mark.mongod
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 7, 59])
async def test_pages_before_one_another_are_the_list(samples: SampleRepository, sort: str, limit: int) -> None:
    await samples.collection.insert_many(mixed())
    whole = await samples.collection.find({}, sort=parse_listing(SAMPLES, [("sort", sort)]).sort.keys).to_list()
    there = await forwards(samples, sort=sort, limit=limit)

    back = await backwards(samples, there[-1], sort=sort, limit=limit)

    assert ids([*back[::-1], there[-1]]) == [row["_id"] for row in whole]
    assert [page.rows for page in back] == [page.rows for page in there[-2::-1]]
    assert there[0].prev is None
    assert all(page.next for page in back)
    again = await opened(samples, after=back[0].next, sort=sort, limit=limit)
    assert ids([again]) == ids(there[-1:])


@pytest.mark.mongod
@pytest.mark.parametrize("sort", SORTS)
async def test_a_page_before_a_cursor_holds_the_rows_just_before_it(samples: SampleRepository, sort: str) -> None:
    await samples.collection.insert_many(mixed())
    whole = ids(await forwards(samples, sort=sort, limit=1000))
    middle = await opened(samples, sort=sort, limit=30)

    near = await opened(samples, sort=sort, limit=4, before=middle.next)
    wide = await opened(samples, sort=sort, limit=1000, before=middle.next)

    assert ids([near]) == whole[25:29]
    assert ids([wide]) == whole[:29]
    assert (near.prev is None, wide.prev) == (False, None)


@pytest.mark.mongod
@pytest.mark.parametrize("sort", SORTS)
async def test_rows_that_stay_come_once_backwards_too(samples: SampleRepository, sort: str) -> None:
    rows = mixed()
    await samples.collection.insert_many(rows)
    going, staying = rows[:20], {row["_id"] for row in rows[20:]}
    start = (await forwards(samples, sort=sort, limit=13))[-1]

    async def between(number: int) -> None:
        new = [{**row, "_id": ObjectId(), "number": 1000 + 100 * number + row["number"]} for row in mixed(5)]
        await samples.collection.insert_many(new)
        if going:
            await samples.collection.delete_one({"_id": going.pop()["_id"]})

    seen = ids([start, *await backwards(samples, start, between, sort=sort, limit=13)])

    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


async def numbered(samples: SampleRepository, count: int) -> None:
    await samples.collection.insert_many([sample(number) for number in range(count)])


async def test_there_is_no_page_before_the_first_row_that_is_left(samples: SampleRepository) -> None:
    await numbered(samples, 6)
    first = await opened(samples, sort="number", limit=2)
    await samples.collection.delete_many({"number": {"$lt": 2}})

    second = await opened(samples, sort="number", limit=2, after=first.next)

    assert [row["number"] for row in second.rows] == [2, 3]
    assert second.prev is None
    await samples.collection.insert_one(sample(0))
    assert (await opened(samples, sort="number", limit=2, after=first.next)).prev is not None


@pytest.mark.parametrize("sort", ["number", "-number"])
async def test_an_empty_page_leads_back_to_the_row_of_its_cursor(samples: SampleRepository, sort: str) -> None:
    await numbered(samples, 4)
    first = await opened(samples, sort=sort, limit=2)
    second = await opened(samples, sort=sort, limit=2, after=first.next)
    await samples.collection.delete_many({"_id": {"$in": ids([second])}})

    behind = await opened(samples, sort=sort, limit=2, after=first.next)
    assert (behind.rows, behind.next) == ([], None)
    assert (await opened(samples, sort=sort, limit=2, before=behind.prev)).rows == first.rows

    before = await opened(samples, sort=sort, limit=2, before=second.prev)
    assert before.rows == first.rows
    await samples.collection.delete_many({})
    await samples.collection.insert_many(list(second.rows))
    empty = await opened(samples, sort=sort, limit=2, before=second.prev)
    assert (empty.rows, empty.prev) == ([], None)
    assert (await opened(samples, sort=sort, limit=2, after=empty.next)).rows == second.rows


async def test_an_empty_list_has_no_neighbours(samples: SampleRepository) -> None:
    await numbered(samples, 2)
    cursor = (await opened(samples, limit=1)).next
    await samples.collection.delete_many({})

    for page in (
        await opened(samples),
        await opened(samples, limit=1, after=cursor),
        await opened(samples, before=cursor),
    ):
        assert (page.rows, page.next, page.prev) == ([], None, None)


@pytest.mark.mongod
async def test_a_row_that_moves_is_where_its_value_puts_it(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(number, rank=number) for number in range(4)])
    first = await opened(samples, sort="rank", limit=2)
    await samples.collection.update_one({"rank": 1}, {"$set": {"rank": 9}})

    second = await opened(samples, sort="rank", limit=5, after=first.next)

    assert [row["rank"] for row in second.rows] == [2, 3, 9]
    assert [row["rank"] for row in (await opened(samples, sort="rank", before=second.prev)).rows] == [0]


@pytest.mark.mongod
@pytest.mark.parametrize("mib", [2, 9])
async def test_pages_of_long_texts_are_cut_on_the_way_back_too(samples: SampleRepository, mib: int) -> None:
    for number in range(10):
        await samples.collection.insert_one(sample(number, note="x" * (mib * 1024 * 1024)))
    there = await forwards(samples, sort="number", limit=100)

    back = await backwards(samples, there[-1], sort="number", limit=100)

    numbers = [row["number"] for page in [*back[::-1], there[-1]] for row in page.rows]
    assert numbers == [row["number"] for page in there for row in page.rows] == list(range(10))
    assert all(page.rows for page in [*there, *back])


@pytest.mark.parametrize("limit", [99, 100, 101, 102, 103, 250])
async def test_pages_about_as_large_as_a_batch_of_the_driver_are_whole(samples: SampleRepository, limit: int) -> None:
    await numbered(samples, 205)
    there = await forwards(samples, sort="number", limit=limit)
    back = await backwards(samples, there[-1], sort="number", limit=limit)

    assert [row["number"] for page in there for row in page.rows] == list(range(205))
    assert [page.rows for page in back] == [page.rows for page in there[-2::-1]]


@pytest.mark.mongod
@pytest.mark.parametrize("sort", SORTS)
async def test_a_walk_in_any_direction_is_a_walk_in_the_list(samples: SampleRepository, sort: str) -> None:
    """Steps drawn by lot, forwards and backwards, with pages of any size."""
    await samples.collection.insert_many(mixed(40))
    whole = ids(await forwards(samples, sort=sort, limit=1000))
    lot, page = random.Random(sort), await opened(samples, sort=sort, limit=5)
    begin, end = 0, 5
    for _ in range(25):
        limit, is_forward = lot.randrange(1, 12), lot.random() < 0.5
        cursor = page.next if is_forward else page.prev
        if cursor is None:
            assert (end if is_forward else begin) == (len(whole) if is_forward else 0)
            continue
        page = await opened(samples, sort=sort, limit=limit, **{"after" if is_forward else "before": cursor})
        begin, end = (end, min(end + limit, len(whole))) if is_forward else (max(begin - limit, 0), begin)
        assert ids([page]) == whole[begin:end]
