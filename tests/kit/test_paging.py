"""Pages put together are the list, each row once, whatever the order and whatever happens between two pages."""

import base64
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.kit.errors import InvalidCursor
from app.kit.listing import parse_listing
from app.kit.paging import Cursors, Position
from app.kit.repository import EVERYTHING, Scope
from tests.kit.samples import SAMPLES, SampleRepository, sample

START = datetime(2026, 1, 1, tzinfo=UTC)
SORTS = [sign + column.name for column in SAMPLES.sortable for sign in ("", "-")]


async def pages(samples: SampleRepository, between: Any = None, **parameters: str) -> list[list[dict[str, Any]]]:
    result, after = [], None
    while True:
        asked = {**parameters, **({"after": after} if after else {})}
        page = await samples.page(EVERYTHING, parse_listing(SAMPLES, asked.items()))
        result.append(list(page.rows))
        after = page.next
        if after is None:
            return result
        if between is not None:
            await between(len(result))


def mixed(count: int = 60) -> list[dict[str, Any]]:
    """Rows with ties, nulls and missing values in every sortable column that may have them."""
    rows = []
    for number in range(count):
        row = sample(number, title=f"t{number % 7}", created_at=START + timedelta(days=number % 5))
        if number % 3:
            row["rank"] = None if number % 3 == 1 else number % 4
        if number % 4:
            row["seen_at"] = None if number % 4 == 1 else START + timedelta(days=number % 6)
        rows.append(row)
    random.Random(7).shuffle(rows)
    return rows


@pytest.mark.mongod
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", ["1", "7", "60", "1000"])
async def test_pages_put_together_are_the_sorted_list(samples: SampleRepository, sort: str, limit: str) -> None:
    await samples.collection.insert_many(mixed())
    listing = parse_listing(SAMPLES, [("sort", sort)])
    whole = await samples.collection.find({}, sort=listing.sort.keys).to_list()

    rows = [row for page in await pages(samples, sort=sort, limit=limit) for row in page]

    assert [row["_id"] for row in rows] == [row["_id"] for row in whole]


@pytest.mark.mongod
@pytest.mark.parametrize("sort", SORTS)
async def test_rows_that_stay_come_once_while_others_come_and_go(samples: SampleRepository, sort: str) -> None:
    rows = mixed()
    await samples.collection.insert_many(rows)
    going, staying = rows[:20], {row["_id"] for row in rows[20:]}

    async def between(number: int) -> None:
        new = [{**row, "_id": ObjectId(), "number": 1000 + 100 * number + row["number"]} for row in mixed(5)]
        await samples.collection.insert_many(new)
        if going:
            await samples.collection.delete_one({"_id": going.pop()["_id"]})

    seen = [row["_id"] for page in await pages(samples, between, sort=sort, limit="20") for row in page]

    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


@pytest.mark.mongod
async def test_a_page_of_long_texts_is_cut_and_goes_on(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(number, note="x" * (2 * 1024 * 1024)) for number in range(12)])

    sizes = [[row["number"] for row in page] for page in await pages(samples, sort="number", limit="100")]

    assert len(sizes) > 1
    assert [number for size in sizes for number in size] == list(range(12))


@pytest.mark.mongod
@pytest.mark.parametrize("size", [1, 5, 12, 13])
async def test_batches_put_together_are_the_list(samples: SampleRepository, size: int) -> None:
    await samples.collection.insert_many(mixed(12))
    listing = parse_listing(SAMPLES, [("sort", "-rank")], paged=False)

    batches = [batch async for batch in samples.batches(EVERYTHING, listing, size=size)]

    assert all(0 < len(batch) <= size for batch in batches)
    assert sorted(row["number"] for batch in batches for row in batch) == list(range(12))


async def test_chosen_fields_page_like_all_of_them(samples: SampleRepository) -> None:
    place = {"city": "Rome", "street": "Via"}
    await samples.collection.insert_many([sample(number, rank=number % 2, place=place) for number in range(9)])

    rows = [row for page in await pages(samples, sort="rank", limit="2", fields="place.city,id") for row in page]

    assert len({row["_id"] for row in rows}) == len(rows) == 9
    assert SAMPLES.render(rows[0], ("place.city", "id")) == {"id": rows[0]["_id"], "place": {"city": "Rome"}}


@pytest.mark.parametrize(
    ("parameters", "total"),
    [({"count": "exact"}, 3), ({"count": "estimate"}, 3), ({"count": "exact", "title": "t1"}, 1), ({}, None)],
)
async def test_a_total_counts_the_whole_list_when_asked(
    samples: SampleRepository, parameters: dict[str, str], total: int | None
) -> None:
    await samples.collection.insert_many([*(sample(number) for number in range(3)), sample(9, state="gone")])

    page = await samples.page(EVERYTHING, parse_listing(SAMPLES, {**parameters, "limit": "1"}.items()))

    assert page.total == total


async def test_a_scope_and_a_filter_of_the_same_column_both_hold(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(1, rank=1), sample(2, rank=2)])

    page = await samples.page(Scope({"rank": 1}), parse_listing(SAMPLES, [("rank", "2")]))

    assert page.rows == []


def test_conditions_that_meet_are_all_kept() -> None:
    scope = Scope({"owner": 1})

    assert scope.where({"a": 1}, {}, {"b": 2}) == {"owner": 1, "a": 1, "b": 2}
    assert scope.where({"$or": [1]}, {"$or": [2]}) == {"$and": [{"owner": 1}, {"$or": [1]}, {"$or": [2]}]}
    assert scope.where({"owner": 2}) == {"$and": [{"owner": 1}, {"owner": 2}]}
    assert Scope().where() == {}


CURSORS = Cursors(b"s" * 32)
CURSOR = CURSORS.encode(b"list", Position("Ana", ObjectId("0123456789abcdef01234567")))


@pytest.mark.parametrize("place", range(len(base64.urlsafe_b64decode(CURSOR + "=" * (-len(CURSOR) % 4)))))
def test_a_cursor_with_any_byte_edited_is_refused(place: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(CURSOR + "=" * (-len(CURSOR) % 4)))
    data[place] ^= 1

    with pytest.raises(InvalidCursor):
        CURSORS.decode(b"list", base64.urlsafe_b64encode(data).decode().rstrip("="))


@pytest.mark.parametrize("text", ["", "x", "!!!!", "é", CURSOR[:-4], CURSOR + "AAAA", "A" * 5000])
def test_what_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.decode(b"list", text)


def test_a_cursor_of_another_list_or_deployment_is_refused() -> None:
    assert CURSORS.decode(b"list", CURSOR).value == "Ana"
    for cursors, fingerprint in ((CURSORS, b"other"), (Cursors(b"t" * 32), b"list")):
        with pytest.raises(InvalidCursor):
            cursors.decode(fingerprint, CURSOR)


@pytest.mark.parametrize("change", [{"sort": "rank"}, {"sort": "-title"}, {"title": "t1"}, {"q": "t"}])
async def test_a_cursor_holds_for_its_sort_and_filter_only(samples: SampleRepository, change: dict[str, str]) -> None:
    await samples.collection.insert_many([sample(number) for number in range(3)])
    first = await samples.page(EVERYTHING, parse_listing(SAMPLES, [("sort", "title"), ("limit", "1")]))

    with pytest.raises(InvalidCursor) as caught:
        await samples.page(
            EVERYTHING, parse_listing(SAMPLES, {"sort": "title", "after": first.next or "", **change}.items())
        )
    assert (caught.value.status, caught.value.code) == (422, "invalid_cursor")


async def test_a_cursor_holds_for_the_route_it_came_from_only(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(number, rank=1) for number in range(3)])
    first = await samples.page(EVERYTHING, parse_listing(SAMPLES, [("limit", "1")]), {"rank": 1})

    with pytest.raises(InvalidCursor):
        await samples.page(EVERYTHING, parse_listing(SAMPLES, [("after", first.next or "")]), {"rank": 2})


async def test_neither_a_row_nor_a_cursor_holds_what_the_table_does_not_name(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(number, password_hash="secret-hash") for number in range(2)])

    page = await samples.page(EVERYTHING, parse_listing(SAMPLES, [("limit", "1"), ("sort", "title")]))

    assert "password_hash" not in page.rows[0]
    assert b"secret" not in base64.urlsafe_b64decode((page.next or "") + "==")
