"""JSON Lines read back line by line are the rows, nested and typed."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime

import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kit.export import FORMATS, ExportOptions, Heading, Row


async def export(names: Sequence[str], *batches: Sequence[Row]) -> bytes:
    async def source() -> AsyncIterator[Sequence[Row]]:
        for batch in batches:
            yield batch

    headings = [Heading(name, name.title()) for name in names]
    return b"".join([chunk async for chunk in FORMATS["jsonl"].stream(headings, source(), {}, ExportOptions())])


async def test_a_row_is_an_object_nested_by_dotted_names() -> None:
    names = ("id", "profile.phone", "name", "profile.address.city", "at", "day", "tags", "seq", "usage")
    row = (
        ObjectId("507f1f77bcf86cd799439011"),
        None,
        "=Ada",
        "London",
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        date(1815, 12, 10),
        ["a"],
        2**60,
        {"at": datetime(2026, 1, 2, 3, 4, 5, 67000, tzinfo=UTC)},
    )
    data = await export(names, [row])
    assert data.decode() == (
        '{"id":"507f1f77bcf86cd799439011","profile":{"phone":null,"address":{"city":"London"}},"name":"=Ada",'
        '"at":"2026-01-02T03:04:05.000Z","day":"1815-12-10","tags":["a"],"seq":1152921504606846976,'
        '"usage":{"at":"2026-01-02T03:04:05.067Z"}}\n'
    )


async def test_an_empty_export_has_no_line() -> None:
    assert await export(["id"]) == b""


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text()))))
async def test_any_value_survives_on_its_own_line(rows: list[tuple[object, ...]]) -> None:
    lines = (await export(["a", "b.c"], rows)).splitlines()
    assert [json.loads(line) for line in lines] == [{"a": a, "b": {"c": b}} for a, b in rows]


async def test_large_batches_come_in_bounded_pieces() -> None:
    async def source() -> AsyncIterator[Sequence[Row]]:
        yield [(f"{number}" + "x" * (1 << 20),) for number in range(8)]

    chunks = FORMATS["jsonl"].stream([Heading("content", "Content")], source(), {}, ExportOptions())
    pieces = [chunk async for chunk in chunks]
    assert max(map(len, pieces)) < 3 << 20
    assert [json.loads(line)["content"][0] for line in b"".join(pieces).splitlines()] == list("01234567")


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", "a.b"], ["a.b.c", "a.b"]])
async def test_names_that_contradict_each_other_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"must be given and differ|value and an object"):
        await export(names)
