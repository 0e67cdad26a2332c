"""DELETE /api/users/{id}: nothing is left of a user, and the receipt says so; cut short, it is gone on with."""

import asyncio
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.kit.clock import now
from app.kit.repository import EVERYTHING
from app.privacy.erasures import subject_of
from app.privacy.inventory import INVENTORY
from app.privacy.purging import Purging
from app.services import Services
from tests.conftest import Person
from tests.privacy.conftest import Life

pytestmark = pytest.mark.mongod


async def left_of(id: ObjectId) -> dict[str, int]:
    """How many rows of each collection are the user's."""
    counts = {
        each.name: await each.document.get_pymongo_collection().count_documents(dict(each.of(id)))
        for each in INVENTORY
        if each.of is not None
    }
    return {name: count for name, count in counts.items() if count}


def counted(rows: dict[str, int]) -> dict[str, int]:
    """Without what stays, and what is noted beside the requests."""
    return {name: count for name, count in rows.items() if name not in {"audit", "presence", "spending"}}


async def test_nothing_is_left_but_what_the_inventory_says_and_the_receipt_counts_it(
    as_admin: httpx.AsyncClient, admin: Person, ana: Person, life: Life, services: Services
) -> None:
    before = await left_of(ana.id)

    response = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    assert response.status_code == 204
    assert set(await left_of(ana.id)) == {each.name for each in INVENTORY if each.stays} & {"audit"}
    assert await services.database.client[services.database.name]["file_chunks"].count_documents({}) == 0
    assert await services.database.client[services.database.name]["turn_events"].count_documents({}) == 0
    path = response.headers["link"].partition(">")[0].removeprefix("<")
    receipt = (await as_admin.get(path)).json()
    assert (receipt["state"], receipt["conversations"]) == ("completed", "delete")
    assert (receipt["subject"], receipt["requested_by"]) == (subject_of(ana.id), str(admin.id))
    assert counted(receipt["counts"]) == counted(before)
    assert ana.email not in str(receipt)
    conversations = services.conversations.rows.collection
    assert await conversations.count_documents({"$or": [{"readers": ana.id}, {"writers": ana.id}]}) == 0
    assert str(ana.id) not in str(receipt)
    listed = await as_admin.get("/api/erasures", params={"subject": subject_of(ana.id)})
    assert listed.json()["items"] == [receipt]
    stored = await services.privacy.erasures.rows.collection.find_one({})
    assert stored is not None
    assert str(ana.id) not in str(stored)


async def test_the_index_of_messages_forgets_what_was_said(
    as_admin: httpx.AsyncClient, ana: Person, life: Life
) -> None:
    await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    assert (await as_admin.get("/api/messages", params={"q": "Kept words"})).json()["items"] == []


@pytest.mark.parametrize("cut_at", ["first", "second"])
async def test_one_that_was_cut_short_is_gone_on_with_by_any_process(
    as_admin: httpx.AsyncClient,
    ana: Person,
    life: Life,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    cut_at: str,
) -> None:
    purge, seen = Purging.purge, []

    async def cut(self: Purging, scope: Any, id: ObjectId, *arguments: Any, **options: Any) -> None:
        seen.append(id)
        if len(seen) == (1 if cut_at == "first" else 2):
            raise asyncio.CancelledError
        await purge(self, scope, id, *arguments, **options)

    before = await left_of(ana.id)
    with monkeypatch.context() as patched:
        patched.setattr(Purging, "purge", cut)
        with pytest.raises(asyncio.CancelledError):
            await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})
    [running] = (await as_admin.get("/api/erasures")).json()["items"]
    assert running["state"] == "running"

    assert await services.privacy.upkeep.go_on_with_erasures() == 1

    [receipt] = (await as_admin.get("/api/erasures")).json()["items"]
    assert receipt["state"] == "completed"
    assert counted(receipt["counts"]) == counted(before)
    assert set(await left_of(ana.id)) == {"audit"}
    assert await services.privacy.upkeep.go_on_with_erasures() == 0


async def test_a_hold_that_comes_in_between_stops_it_until_it_is_lifted(
    as_admin: httpx.AsyncClient, ana: Person, life: Life, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    purge, holds = Purging.purge, []

    async def hold_the_rest(self: Purging, scope: Any, id: ObjectId, *arguments: Any, **options: Any) -> None:
        await purge(self, scope, id, *arguments, **options)
        for path in (life.conversation, life.deleted):
            body = {"resource": "conversations", "target_id": path.rpartition("/")[2], "reason": "just in time"}
            if (placed := await as_admin.post("/api/holds", json=body)).status_code == 201:
                holds.append(placed.headers["location"])

    with monkeypatch.context() as patched:
        patched.setattr(Purging, "purge", hold_the_rest)
        stopped = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    assert (stopped.status_code, stopped.json()["reason"], len(holds)) == (409, "held", 1)
    assert await services.privacy.upkeep.go_on_with_erasures() == 0  # not before an hour is over
    again = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})
    assert again.json()["reason"] == "held"
    placed = await as_admin.post("/api/holds", json={"resource": "users", "target_id": str(ana.id), "reason": "x"})
    assert placed.json()["reason"] == "purged"
    await as_admin.delete(holds[0])
    assert (await as_admin.delete(f"/api/users/{ana.id}")).status_code == 204
    [receipt] = (await as_admin.get("/api/erasures")).json()["items"]
    assert (receipt["state"], receipt["counts"]["conversations"]) == ("completed", 2)


async def test_a_killed_process_leaves_it_to_others_when_its_lease_is_over(
    as_admin: httpx.AsyncClient, ana: Person, life: Life, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    async def too_late(*_: object) -> None:
        """Who is killed lets go of nothing."""

    rows = services.privacy.erasures.rows
    with monkeypatch.context() as patched:
        patched.setattr(Purging, "purge", die)
        patched.setattr(type(rows), "let_go", too_late)
        with pytest.raises(asyncio.CancelledError):
            await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    assert await services.privacy.upkeep.go_on_with_erasures() == 0
    assert (await as_admin.delete(f"/api/users/{ana.id}")).json()["reason"] == "erasing"
    await rows.collection.update_one({}, {"$set": {"lease_until": now()}})  # a minute later
    assert await services.privacy.upkeep.go_on_with_erasures() == 1
    assert set(await left_of(ana.id)) == {"audit"}


async def test_a_keyed_bulk_request_erases_within_its_transaction(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    await as_ana.post("/api/keys", json={"name": "phone"})
    bulk = {"operations": [{"action": "delete", "id": str(each.id)} for each in (ana, ben)]}

    for _ in range(2):
        response = await as_admin.post("/api/users/bulk", json=bulk, headers={"Idempotency-Key": "away"})
        assert [each["status"] for each in response.json()["results"]] == [204, 204]

    receipts = (await as_admin.get("/api/erasures")).json()["items"]
    assert [each["state"] for each in receipts] == ["completed", "completed"]
    assert {each["counts"]["users"] for each in receipts} == {1}
    assert set(await left_of(ana.id)) == {"audit"}


async def test_two_at_once_are_one(as_admin: httpx.AsyncClient, ana: Person, life: Life) -> None:
    path = f"/api/users/{ana.id}"
    both = await asyncio.gather(*(as_admin.delete(path, params={"conversations": "delete"}) for _ in range(2)))

    assert min(each.status_code for each in both) == 204
    assert {each.status_code for each in both} <= {204, 404, 409}
    [receipt] = (await as_admin.get("/api/erasures")).json()["items"]
    assert (receipt["state"], receipt["counts"]["conversations"]) == ("completed", 2)


async def test_what_is_kept_is_not_counted(as_admin: httpx.AsyncClient, ana: Person, life: Life) -> None:
    await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "keep"})

    [receipt] = (await as_admin.get("/api/erasures")).json()["items"]
    assert receipt["conversations"] == "keep"
    assert "messages" not in receipt["counts"]
    assert (await as_admin.get(life.conversation)).status_code == 200


async def test_a_refused_one_leaves_no_receipt(
    as_admin: httpx.AsyncClient, admin: Person, ana: Person, life: Life
) -> None:
    assert (await as_admin.delete(f"/api/users/{ana.id}")).status_code == 409
    assert (await as_admin.delete(f"/api/users/{admin.id}")).json()["reason"] == "last_admin"

    assert (await as_admin.get("/api/erasures")).json()["items"] == []


async def test_the_log_tells_of_it(as_admin: httpx.AsyncClient, ana: Person, life: Life, services: Services) -> None:
    await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    found = (await as_admin.get("/api/audit", params={"subject_id": str(ana.id), "limit": 1000})).json()["items"]
    actions = [each["action"] for each in found]
    for action in ("erasure.created", "user.deleted", "user.erased"):
        assert actions.count(action) == 1, action
    assert actions.count("conversation.purged") == 2
    assert await services.users.rows.find(EVERYTHING, {"_id": ana.id}) is None
