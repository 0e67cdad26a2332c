"""Every figure of a summary is what counting the rows one by one comes to."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from app.kit.repository import Row
from tests.conftest import Person
from tests.stats.conftest import Stored, items

pytestmark = pytest.mark.mongod

Key = Callable[[Row], Any]


def three_digits(value: int) -> int:
    return round(value, min(0, 3 - len(str(value))))


def percentile(values: Sequence[int], percent: int) -> int | None:
    """By nearest rank."""
    return three_digits(sorted(values)[math.ceil(len(values) * percent / 100) - 1]) if values else None


def usage_of(rows: Sequence[Row]) -> dict[str, Any]:
    completed = [row for row in rows if row["state"] == "completed"]
    costs = [row["cost"] for row in rows if row["cost"] is not None]
    states = ("completed", "failed", "cancelled", "interrupted")
    return {
        "turns": len(rows),
        **{state: sum(row["state"] == state for row in rows) for state in states},
        **{
            f"{name}_tokens": sum(row["usage"][name] for row in completed) for name in ("prompt", "completion", "total")
        },
        "cost": sum(costs) if costs else None,
        "priced": len(costs),
        "users": len({row["owner_id"] for row in rows}),
        **{
            f"{name}_p{percent}": percentile([row[name] for row in completed], percent)
            for name in ("first_token_ms", "total_ms")
            for percent in (50, 95, 99)
        },
    }


def messages_of(rows: Sequence[Row]) -> dict[str, Any]:
    ratings = [row["feedback"]["rating"] for row in rows if row["feedback"]]
    return {
        "messages": len(rows),
        "rated_up": ratings.count("up"),
        "rated_down": ratings.count("down"),
        "conversations": len({row["conversation_id"] for row in rows}),
        "users": len({row["owner_id"] for row in rows}),
    }


COUNT: Mapping[str, Callable[[Sequence[Row]], dict[str, Any]]] = {"usage": usage_of, "messages": messages_of}


def error_of(row: Row) -> str | None:
    return row["error"]["code"] if row["error"] else None


def groups(rows: Iterable[Row], *keys: Key) -> dict[tuple[Any, ...], list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[tuple(key(row) for key in keys)].append(row)
    return dict(found)


def of_field(name: str) -> Key:
    return lambda row: row[name]


def day_in(tz: str, period: str) -> Callable[[Row], str]:
    def beginning(row: Row) -> str:
        instant: datetime = row["created_at"]
        day = instant.astimezone(ZoneInfo(tz)).date()
        back = {"day": 0, "week": day.weekday(), "month": day.day - 1}[period]
        return (day - timedelta(days=back)).isoformat()

    return beginning


async def agrees(client: httpx.AsyncClient, path: str, rows: Sequence[Row], name: str, key: Key, **asked: str) -> None:
    wanted = {each[0]: COUNT[path](group) for each, group in groups(rows, key).items()}

    found = await items(client, path, by=name, **asked)

    assert [item[name] for item in found] == sorted(wanted, key=lambda value: (value is not None, value)), (name, asked)
    assert {item.pop(name): item for item in found} == wanted, (name, asked)


async def test_by_time_in_a_time_zone(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    for tz in ("UTC", "America/New_York", "Asia/Shanghai", "Asia/Kathmandu", "Pacific/Apia"):
        for period in ("day", "week", "month"):
            key = day_in(tz, period)
            await agrees(as_analyst, "usage", stored.turns, period, key, tz=tz)
            await agrees(as_analyst, "messages", stored.messages, period, key, tz=tz)
    await agrees(as_analyst, "usage", stored.turns, "day", day_in("Europe/Berlin", "day"), tz="Europe/Berlin")


async def test_by_a_value_that_may_be_missing(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    for name in ("model", "served_model", "provider", "state"):
        await agrees(as_analyst, "usage", stored.turns, name, of_field(name))
    for name in ("role", "model", "provider", "status", "finish_reason"):
        await agrees(as_analyst, "messages", stored.messages, name, of_field(name))


async def test_by_three_at_once_in_their_order(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    keys = day_in("Europe/Berlin", "month"), of_field("model"), error_of
    wanted = {key: usage_of(group) for key, group in groups(stored.turns, *keys).items()}

    found = await items(as_analyst, "usage", by="month,model,error", tz="Europe/Berlin")
    keyed = [((item.pop("month"), item.pop("model"), item.pop("error")["code"]), item) for item in found]

    assert dict(keyed) == wanted
    assert [key for key, _ in keyed] == sorted(wanted, key=lambda key: (key[0], key[1], key[2] or ""))


async def test_by_user_with_who_that_is(as_analyst: httpx.AsyncClient, stored: Stored, ana: Person) -> None:
    found = await items(as_analyst, "messages", by="user")
    of_ana = next(item for item in found if item["owner_id"] == str(ana.id))
    mine = [row for row in stored.messages if row["owner_id"] == ana.id]

    assert len(found) == 2
    assert of_ana == {
        "owner_id": str(ana.id),
        "owner": {"email": ana.email, "name": "Ana"},
        **messages_of(mine),
    }


async def test_in_all(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    assert await items(as_analyst, "usage", by="total") == [usage_of(stored.turns)]
    assert await items(as_analyst, "messages", by="total") == [messages_of(stored.messages)]


async def test_filters_are_those_of_the_list(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    slow = [row for row in stored.turns if (row["total_ms"] or 0) >= 5000 and row["model"] != "echo"]
    assert await items(as_analyst, "usage", by="total", total_ms__gte="5000", model__ne="echo") == [usage_of(slow)]

    asked = {"role": "assistant", "status__in": "complete,failed", "model__has": "GPT"}
    found = [
        row
        for row in stored.messages
        if row["role"] == "assistant" and row["status"] == "complete" and row["model"] == "openai:gpt-x"
    ]
    listed = await as_analyst.get("/api/messages", params={**asked, "count": "exact"})
    assert await items(as_analyst, "messages", by="total", **asked) == [messages_of(found)]
    assert listed.json()["total"] == len(found)


async def test_percentiles_are_of_the_nearest_rank_however_few_there_are(
    as_analyst: httpx.AsyncClient, stored: Stored
) -> None:
    values = sorted(row["total_ms"] for row in stored.turns if row["state"] == "completed")
    columns = "total_ms_p50,total_ms_p95,total_ms_p99"
    for count in (1, 2, 19, 20, 21, 100, 101, len(values)):
        slowest = [value for value in values if value >= values[-count]]
        found = await items(as_analyst, "usage", by="total", columns=columns, total_ms__gte=str(values[-count]))
        assert found == [{f"total_ms_p{percent}": percentile(slowest, percent) for percent in (50, 95, 99)}]


async def test_sums_in_an_order_with_unknown_ones_first(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    found = await items(as_analyst, "usage", by="model", sort="cost", columns="model,cost")
    assert [item["cost"] is None for item in found] == [True, True, False]
    assert [item["model"] for item in found] == ["deepseek:chat", "echo", "openai:gpt-x"]

    found = await items(as_analyst, "usage", by="day", sort="-turns", columns="day,turns")
    assert found == sorted(found, key=lambda item: (-item["turns"], item["day"]))
