"""What may be asked of a summary, and how that is refused which may not."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import ExecutionTimeout, OperationFailure

from app.kit import summary
from app.kit.errors import Invalid
from app.stats.request import DEFAULT_DAYS, StatsRequest, parse_stats
from app.stats.tables import MESSAGE_STATS, USAGE_STATS
from tests.api.calls import fields_at_fault
from tests.stats.conftest import ALL, Stored, ask

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


async def parsed(**parameters: str) -> StatsRequest:
    return await parse_stats(USAGE_STATS, parameters.items(), instant=NOON)


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"by": "owner"}, "query.by"),
    ({"by": ""}, "query.by"),
    ({"by": "day,day"}, "query.by"),
    ({"by": "day,week"}, "query.by"),
    ({"by": "total,model"}, "query.by"),
    ({"by": "day,user,model,provider"}, "query.by"),
    ({"since": "yesterday"}, "query.since"),
    ({"until": "2026-13-01"}, "query.until"),
    ({"since": "2026-02-01", "until": "2026-02-01"}, "query.since"),
    ({"since": "2026-02-02", "until": "2026-02-01"}, "query.since"),
    ({"since": "1999-01-01", "until": "2026-02-01"}, "query.since"),
    ({"until": "0001-01-01"}, "query.since"),
    ({"until": "0001-01-01", "tz": "Asia/Tokyo"}, "query.until"),
    ({"tz": "Mars/Olympus"}, "query.tz"),
    ({"tz": "../../etc/passwd"}, "query.tz"),
    ({"tz": "+08:00"}, "query.tz"),
    ({"columns": "model"}, "query.columns"),
    ({"columns": ""}, "query.columns"),
    ({"sort": "content"}, "query.sort"),
    ({"sort": "users", "columns": "day"}, "query.sort"),
    ({"format": "pdf"}, "query.format"),
    ({"raw": "yes"}, "query.raw"),
    ({"created_at__gte": "2026-01-01"}, "query.created_at__gte"),
    ({"q": "words"}, "query.q"),
    ({"limit": "3"}, "query.limit"),
    ({"owner_id": "me"}, "query.owner_id"),
]


async def test_what_cannot_be_understood_is_refused_by_name(as_analyst: httpx.AsyncClient) -> None:
    for path in ("usage", "messages"):
        for parameters, field in REFUSED:
            assert fields_at_fault(await as_analyst.get(f"/api/stats/{path}", params=parameters)) == [field], parameters


async def test_every_fault_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        await parsed(by="x", since="x", tz="x", sort="x", state="x")
    assert {each["field"] for each in refused.value.members["fields"]} == {
        f"query.{name}" for name in ("by", "since", "tz", "sort", "state")
    }


async def test_a_parameter_given_twice_is_refused(as_analyst: httpx.AsyncClient) -> None:
    for name in ("by", "tz", "format", "state"):
        response = await as_analyst.get(f"/api/stats/usage?{name}=json&{name}=json")
        assert {"field": f"query.{name}", "message": "is given twice"} in response.json()["fields"]


async def test_thirty_days_of_the_zone_without_more_being_said() -> None:
    assert (await parsed()).until == NOON
    assert (await parsed()).since == datetime(2026, 2, 28, tzinfo=UTC)
    berlin = await parsed(tz="Europe/Berlin")
    assert (
        berlin.since == datetime(2026, 2, 28, tzinfo=ZoneInfo("Europe/Berlin")) == datetime(2026, 2, 27, 23, tzinfo=UTC)
    )

    whole = await parsed(until="2026-03-29", tz="Europe/Berlin")
    assert (whole.until - whole.since) == timedelta(days=DEFAULT_DAYS)


async def test_a_date_begins_in_the_zone_and_an_instant_is_where_it_says() -> None:
    asked = await parsed(since="2026-03-08", until="2026-03-09", tz="America/New_York")
    assert (asked.since, asked.until) == (datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 3, 9, 4, tzinfo=UTC))

    asked = await parsed(since="2026-03-08T01:30", until="2026-03-08T12:00:00.1239+02:00", tz="Asia/Shanghai")
    assert asked.since == datetime(2026, 3, 7, 17, 30, tzinfo=UTC)
    assert asked.until == datetime(2026, 3, 8, 10, 0, 0, 123_000, tzinfo=UTC)


async def test_a_time_that_a_clock_jumps_over_is_the_jump() -> None:
    """Cairo goes from Thursday 23:59 to Friday 1:00."""
    assert (await parsed(since="2025-04-25", until="2025-05-01", tz="Africa/Cairo")).since == datetime(
        2025, 4, 24, 22, tzinfo=UTC
    )


@pytest.mark.mongod
async def test_nothing_in_the_range_is_an_empty_table(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    for path in ("usage", "messages"):
        for by in ("day", "total", "user,model"):
            found = await ask(as_analyst, path, by=by, since="2020-01-01", until="2020-02-01")
            assert found["items"] == []
            assert found["columns"]


@pytest.mark.mongod
async def test_the_answer_says_what_it_is_of(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    found = await ask(as_analyst, "usage", by="week,user", columns="week,owner.email,cost", tz="Asia/Shanghai")

    assert found["columns"] == [
        {"name": "week", "label": "Week", "kind": "date"},
        {"name": "owner.email", "label": "Owner: E-mail", "kind": "text"},
        {"name": "cost", "label": "Cost (USD)", "kind": "number"},
    ]
    assert (found["since"], found["until"]) == ("2025-12-31T16:00:00Z", "2026-12-31T16:00:00Z")
    assert found["tz"] == "Asia/Shanghai"
    assert all(item.keys() == {"week", "owner", "cost"} for item in found["items"])


@pytest.mark.mongod
async def test_too_many_groups_are_refused_with_what_to_do(
    as_analyst: httpx.AsyncClient, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MAX_GROUPS", 3)
    response = await as_analyst.get("/api/stats/usage", params={**ALL, "by": "day"})
    assert fields_at_fault(response) == ["query.by"]
    assert "name fewer, or filter" in response.json()["detail"]
    assert len((await ask(as_analyst, "usage", by="model"))["items"]) == 3


@pytest.mark.mongod
async def test_what_the_database_refuses_says_what_to_do(
    as_analyst: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [
        (ExecutionTimeout("operation exceeded time limit", 50), "query_too_expensive", "choose a shorter time"),
        (OperationFailure("no room to sort", 292), "query_too_expensive", "fewer `columns`"),
        (OperationFailure("unrecognized time zone identifier", 40485), "invalid", "query.tz"),
    ]
    for error, code, sentence in refusals:

        async def refuse(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(AsyncCollection, "aggregate", refuse)
        for format in ("json", "csv", "xlsx"):
            response = await as_analyst.get("/api/stats/messages", params={"format": format})
            assert (response.status_code, response.json()["code"]) == (422, code)
            assert sentence in response.json()["detail"]


def test_every_figure_and_key_has_a_name_of_its_own() -> None:
    for stats in (MESSAGE_STATS, USAGE_STATS):
        columns = [column for each in stats.keys.values() for column in each] + list(stats.figures)
        assert len({column.name for column in columns}) == len(columns)
        assert len({column.label for column in columns}) == len(columns)
