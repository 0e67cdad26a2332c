"""Who sees what in a summary, in which format, and what the database reads for it."""

from datetime import UTC, date, datetime, timedelta

import httpx
import pytest
from bson import ObjectId

from app.kit.export import FORMATS
from app.services import Services
from app.turns.model import Turn
from tests.conftest import Person
from tests.conversations.profiling import profiled
from tests.exports.files import column, open_xlsx, read_csv, read_jsonl, read_xlsx
from tests.stats.conftest import ALL, UNTIL, Stored, items

pytestmark = pytest.mark.mongod


async def test_users_see_their_own_and_analysts_and_admins_all(
    as_ana: httpx.AsyncClient,
    as_analyst: httpx.AsyncClient,
    as_admin: httpx.AsyncClient,
    ana: Person,
    ben: Person,
    stored: Stored,
) -> None:
    for path, rows, figure in (("usage", stored.turns, "turns"), ("messages", stored.messages, "messages")):
        of_ana = [row for row in rows if row["owner_id"] == ana.id]
        [mine] = await items(as_ana, path, by="user")
        assert (mine["owner"]["email"], mine[figure]) == (ana.email, len(of_ana))
        assert await items(as_ana, path, by="day", owner_id=str(ben.id)) == []
        for client in (as_analyst, as_admin):
            [total] = await items(client, path, by="total")
            assert total[figure] == len(rows) > len(of_ana)


async def test_hidden_messages_are_not_counted_and_come_back_with_their_conversation(as_ana: httpx.AsyncClient) -> None:
    created = await as_ana.post("/api/conversations", json={})
    path = created.headers["location"]
    await as_ana.post(f"{path}/messages", json={"role": "user", "content": "one"})
    params = {"by": "total", "columns": "messages"}

    assert (await as_ana.get("/api/stats/messages", params=params)).json()["items"] == [{"messages": 1}]
    await as_ana.delete(path)
    assert (await as_ana.get("/api/stats/messages", params=params)).json()["items"] == []
    await as_ana.post(f"{path}/restore")
    assert (await as_ana.get("/api/stats/messages", params=params)).json()["items"] == [{"messages": 1}]


async def test_a_real_turn_is_there_at_once_and_stays_when_its_conversation_is_deleted(
    as_ana: httpx.AsyncClient,
) -> None:
    path = (await as_ana.post("/api/conversations", json={})).headers["location"]
    turn = (await as_ana.post(f"{path}/turns", json={"content": "Hello"})).json()
    asked = {"by": "day,served_model,state", "columns": "served_model,state,turns,total_tokens,total_ms_p50,cost"}
    wanted = {
        "served_model": "echo",
        "state": "completed",
        "turns": 1,
        "total_tokens": turn["usage"]["total"],
        "total_ms_p50": turn["total_ms"],
        "cost": None,
    }

    for _ in range(2):
        assert (await as_ana.get("/api/stats/usage", params=asked)).json()["items"] == [wanted]
        await as_ana.delete(path)


async def test_the_range_begins_with_its_first_millisecond_and_ends_before_its_last(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    """Berlin's 29 March has 23 hours, 25 October 25."""
    hour, tick = timedelta(hours=1), timedelta(milliseconds=1)
    for day, first, hours in (
        (29, datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (25, datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
    ):
        edges = [first - tick, first, first + 2 * hour, first + hours * hour - tick, first + hours * hour]
        rows = [_turn(ana.id, at).to_row() for at in edges]
        await services.turns.rows.collection.insert_many(rows)
        local = date(2026, 3 if day == 29 else 10, day)
        asked = {"by": "day", "tz": "Europe/Berlin", "columns": "day,turns"}

        [one] = await items(as_ana, "usage", since=str(local), until=str(local + timedelta(days=1)), **asked)
        around = await items(
            as_ana, "usage", since=str(local - timedelta(days=1)), until=str(local + timedelta(days=2)), **asked
        )

        assert one == {"day": str(local), "turns": 3}
        assert [each["turns"] for each in around] == [1, 3, 1]


def _turn(owner_id: ObjectId, created_at: datetime) -> Turn:
    return Turn(
        conversation_id=ObjectId(),
        owner_id=owner_id,
        assistant_message_id=ObjectId(),
        answer_seq=2,
        model="echo",
        created_at=created_at,
    )


async def test_every_format_has_the_same_table(as_analyst: httpx.AsyncClient, stored: Stored) -> None:
    asked = {**ALL, "by": "day,user,error", "tz": "Asia/Shanghai", "columns": "day,owner.email,error.code,turns,cost"}
    wanted = (await as_analyst.get("/api/stats/usage", params=asked)).json()["items"]
    files = {name: await as_analyst.get("/api/stats/usage", params={**asked, "format": name}) for name in FORMATS}

    for name, response in files.items():
        assert response.status_code == 200
        disposition = response.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="turns-stats-')
        assert disposition.endswith(f'.{name}"')
    assert read_jsonl(files["jsonl"].content) == wanted
    table = read_csv(files["csv"].content)
    assert table[0] == ["Day", "Owner: E-mail", "Error", "Turns", "Cost (USD)"]
    assert [
        [item["day"], item["owner"]["email"], item["error"]["code"] or "", str(item["turns"]), str(item["cost"] or "")]
        for item in wanted
    ] == table[1:]
    workbook = open_xlsx(files["xlsx"].content)
    about = dict(workbook["About"].iter_rows(max_col=2, values_only=True))
    assert about["Title"] == "Verbatim: turns by day, user, error"
    assert (about["From"], about["Time zone"]) == ("2025-12-31T16:00:00.000Z", "Asia/Shanghai")
    sheet = read_xlsx(files["xlsx"].content)
    assert column(sheet, "Turns") == [item["turns"] for item in wanted]
    assert [cell.date().isoformat() for cell in column(sheet, "Day")] == [item["day"] for item in wanted]


async def test_sums_of_all_users_read_an_index_as_far_as_the_time_goes(
    services: Services, as_analyst: httpx.AsyncClient, stored: Stored
) -> None:
    """And of turns nothing else."""
    half = UNTIL - timedelta(days=20)
    cases = {
        "usage": (stored.turns, ("day", "day,user,model", "week,served_model,error", "state,provider")),
        "messages": (stored.messages, ("day", "day,user,model", "role,status,rating", "provider")),
    }
    for path, (rows, ways) in cases.items():
        name = "turns" if path == "usage" else "messages"
        visible = len([row for row in rows if row["created_at"] >= half])
        for by in ways:
            async with profiled(services.database) as profile:
                await items(as_analyst, path, by=by, since=half.isoformat())
                entries = [each for each in await profile.read(name) if "aggregate" in each.get("command", {})]
            assert len(entries) == (3 if path == "usage" else 1)
            for entry in entries:
                assert entry["planSummary"].startswith("IXSCAN { created_at: -1"), (by, entry["planSummary"])
                assert path == "messages" or entry["docsExamined"] == 0, (by, entry["planSummary"])
                assert entry["keysExamined"] <= 1.3 * visible + 10, by  # every tenth message is hidden


async def test_sums_of_one_user_read_no_more_than_theirs(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, stored: Stored
) -> None:
    for path, name in (("usage", "turns"), ("messages", "messages")):
        collection = services.database.client[services.database.name][name]
        mine = await collection.count_documents({"owner_id": ana.id})
        async with profiled(services.database) as profile:
            await items(as_ana, path, by="day")
            entries = [each for each in await profile.read(name) if "aggregate" in each.get("command", {})]
        for entry in entries:
            assert "COLLSCAN" not in entry["planSummary"]
            assert entry["keysExamined"] <= mine + 10, entry["planSummary"]
