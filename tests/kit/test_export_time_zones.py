"""Instants in the time zone that was asked for: over a change of clocks, before zones, at the ends of the calendar."""

import csv
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from io import BytesIO, StringIO
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow.parquet as pq
import pytest

from app.kit.export import FORMATS, ExportOptions, Heading, Row
from app.kit.zones import TIME_ZONES

AT = Heading("at", "At", "instant")


async def export(format: str, tz: str, *values: Any, heading: Heading = AT) -> bytes:
    async def source() -> AsyncIterator[Sequence[Row]]:
        yield [(value,) for value in values]

    chunks = FORMATS[format].stream([heading], source(), {}, ExportOptions(tz=tz))
    return b"".join([chunk async for chunk in chunks])


async def csv_cells(tz: str, *values: Any, heading: Heading = AT) -> list[str]:
    data = await export("csv", tz, *values, heading=heading)
    return [row[0] for row in csv.reader(StringIO(data.decode("utf-8-sig"), newline=""))][1:]


async def xlsx_cells(tz: str, *values: Any, heading: Heading = AT) -> list[Any]:
    book = openpyxl.load_workbook(BytesIO(await export("xlsx", tz, *values, heading=heading)))
    assert dict(book["About"].iter_rows(min_row=2, values_only=True))["Time zone"] == tz
    return [row[0] for row in book["Data"].iter_rows(min_row=2, values_only=True)]


CLOCKS = [
    ("Asia/Shanghai", "2026-01-01T23:30:00.123+00:00", "2026-01-02T07:30:00.123+08:00"),
    ("Asia/Kathmandu", "2026-01-01T00:00:00+00:00", "2026-01-01T05:45:00.000+05:45"),
    ("America/St_Johns", "2026-01-01T00:00:00+00:00", "2025-12-31T20:30:00.000-03:30"),
    ("Europe/London", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.000+00:00"),
    # Clocks go forward at 01:00 UTC: 02:00 to 03:00 is never shown.
    ("Europe/Berlin", "2026-03-29T00:59:59+00:00", "2026-03-29T01:59:59.000+01:00"),
    ("Europe/Berlin", "2026-03-29T01:00:00+00:00", "2026-03-29T03:00:00.000+02:00"),
    # They go back at 01:00 UTC: 02:30 is shown twice, and the offset tells which.
    ("Europe/Berlin", "2026-10-25T00:30:00+00:00", "2026-10-25T02:30:00.000+02:00"),
    ("Europe/Berlin", "2026-10-25T01:30:00+00:00", "2026-10-25T02:30:00.000+01:00"),
    # A zone that left out a whole day.
    ("Pacific/Apia", "2011-12-30T09:59:59+00:00", "2011-12-29T23:59:59.000-10:00"),
    ("Pacific/Apia", "2011-12-30T10:00:00+00:00", "2011-12-31T00:00:00.000+14:00"),
]


@pytest.mark.parametrize(("tz", "instant", "text"), CLOCKS)
async def test_an_instant_is_what_the_clocks_of_the_zone_show(tz: str, instant: str, text: str) -> None:
    at = datetime.fromisoformat(instant)
    clock = datetime.fromisoformat(text)
    assert await csv_cells(tz, at) == [text]
    assert clock == at
    assert await xlsx_cells(tz, at) == [clock.replace(tzinfo=None)]
    [found] = pq.read_table(BytesIO(await export("parquet", tz, at))).column("at").to_pylist()
    assert found.isoformat(timespec="milliseconds") == text
    [line] = (await export("jsonl", tz, at)).splitlines()
    assert json.loads(line) == {"at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


async def test_utc_is_a_z_and_any_zone_of_a_value_is_converted() -> None:
    at = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert await csv_cells("UTC", at) == ["2026-07-01T10:00:00.000Z"]
    assert await csv_cells("Asia/Tokyo", at) == ["2026-07-01T19:00:00.000+09:00"]
    assert await xlsx_cells("UTC", at) == [datetime(2026, 7, 1, 10)]  # noqa: DTZ001


async def test_offsets_that_rfc_3339_does_not_know_are_utc() -> None:
    at = datetime(1880, 1, 1, tzinfo=UTC)
    assert at.astimezone(ZoneInfo("Europe/Berlin")).isoformat() == "1880-01-01T00:53:28+00:53:28"
    assert await csv_cells("Europe/Berlin", at) == ["1880-01-01T00:00:00.000Z"]
    assert await xlsx_cells("Europe/Berlin", at) == ["1880-01-01T00:00:00.000Z"]


async def test_the_ends_of_the_calendar_are_not_left() -> None:
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    texts = ["0001-01-01T00:00:00.000+00:00", "9999-12-31T23:59:59.000+00:00"]
    assert await csv_cells("America/Lima", first) == texts[:1]
    assert await csv_cells("Asia/Tokyo", last) == texts[1:]
    assert await xlsx_cells("Asia/Tokyo", last) == [last.replace(tzinfo=None)]


async def test_the_first_day_of_a_sheet_is_the_zones() -> None:
    at = datetime(1900, 2, 28, 18, tzinfo=UTC)
    assert await xlsx_cells("UTC", at) == ["1900-02-28T18:00:00.000Z"]
    assert await xlsx_cells("Europe/Warsaw", at) == ["1900-02-28T19:24:00.000+01:24"]
    assert await xlsx_cells("Asia/Kolkata", at) == ["1900-02-28T18:00:00.000Z"]  # +05:21:10 then
    assert await xlsx_cells("Asia/Tokyo", at) == [datetime(1900, 3, 1, 3)]  # noqa: DTZ001


async def test_dates_and_json_have_no_zone() -> None:
    at = datetime(2026, 1, 1, 23, tzinfo=UTC)
    day, extra = Heading("day", "Day", "date"), Heading("extra", "Extra", "json")
    assert await csv_cells("Asia/Tokyo", "2026-01-01", date(2026, 1, 1), heading=day) == ["2026-01-01"] * 2
    assert await csv_cells("Asia/Tokyo", {"at": at}, heading=extra) == ['{"at":"2026-01-01T23:00:00.000Z"}']
    assert await xlsx_cells("Asia/Tokyo", "2026-01-01", heading=day) == [datetime(2026, 1, 1)]  # noqa: DTZ001


@pytest.mark.parametrize("format", FORMATS)
async def test_a_time_without_a_zone_is_refused(format: str) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        await export(format, "Asia/Tokyo", datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "tz", ["", "Berlin", "europe/berlin", "CEST", "+02:00", "America", "../etc/passwd", "/etc/localtime", "localtime",
           "right/UTC", "posixrules", "UTC\0", "x" * 5000]
)  # fmt: skip
def test_what_is_no_zone_is_refused(tz: str) -> None:
    with pytest.raises(ValueError, match="is no time zone; one is named like Europe/Berlin"):
        ExportOptions(tz=tz)


def test_every_zone_that_is_taken_can_be_loaded() -> None:
    assert len(TIME_ZONES) > 500
    for name in sorted(TIME_ZONES)[::25]:
        assert ExportOptions(tz=name).zone.key == name
