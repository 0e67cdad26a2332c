"""What a process remembers of keys for a second must never outlive what it knows of a change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import httpx
import pytest
from pymongo.errors import PyMongoError

from app.auth import memory, service
from app.auth.access import Access
from app.auth.credentials import Bearer
from app.auth.memory import REMEMBERED_SECONDS, Memory
from app.auth.principal import Principal
from app.auth.repository import KeyRepository
from app.auth.schemas import KeyCreate
from app.auth.service import KeyService
from app.kit.clock import now
from app.kit.errors import Unauthenticated
from app.kit.repository import EVERYTHING, Row
from app.services import Services
from tests.conftest import Person


class CountingKeys(KeyRepository):
    """Counts what is asked of the database, and can hold an answer back."""

    lookups = 0
    touches = 0
    answered: asyncio.Event | None = None
    proceed: asyncio.Event | None = None

    async def find_by_hash(self, key_hash: str) -> Row | None:
        self.lookups += 1
        row = await super().find_by_hash(key_hash)
        if self.answered is not None and self.proceed is not None:
            self.answered.set()
            await self.proceed.wait()
        return row

    async def touch(self, id: Any, at: datetime) -> None:
        self.touches += 1
        await super().touch(id, at)


@pytest.fixture
async def rows(services: Services) -> CountingKeys:
    return CountingKeys(services.database.cursors)


@pytest.fixture
async def access(services: Services, rows: CountingKeys) -> AsyncIterator[Access]:
    """The door as another process would have it."""
    fresh = Memory()
    built = replace(services.access, memory=fresh, keys=KeyService(rows, services.users.rows, fresh))
    yield built
    await built.aclose()


@pytest.fixture
def keys(access: Access) -> KeyService:
    return access.keys


async def come(access: Access, key: str) -> Principal:
    return await access.authenticate(Bearer(key), "test")


async def is_refused(access: Access, key: str) -> bool:
    try:
        await come(access, key)
    except Unauthenticated:
        return True
    return False


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the clock that counts how long something is remembered."""
    instant = monotonic() + seconds
    monkeypatch.setattr(memory, "monotonic", lambda: instant)


CHANGES: dict[str, tuple[str, str, Any]] = {
    "PATCH": ("PATCH", "/api/users/{id}", {"role": "admin"}),
    "PUT": ("PUT", "/api/users/{id}", {"email": "ana@example.com", "name": "Ana", "role": "admin"}),
    "bulk": (
        "POST",
        "/api/users/bulk",
        {"operations": [{"action": "update", "id": "{id}", "body": {"role": "admin"}}]},
    ),
}


@pytest.mark.parametrize("once", [{}, {"Idempotency-Key": "change"}], ids=["", "keyed"])
@pytest.mark.parametrize("how", CHANGES)
async def test_a_role_changed_over_the_api_counts_at_once(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, how: str, once: dict[str, str]
) -> None:
    method, path, body = CHANGES[how]
    if how == "bulk":
        body["operations"][0]["id"] = str(ana.id)
    admins_only = {"email": "new@example.com", "name": "New"}
    assert (await as_ana.post("/api/users", json=admins_only)).status_code == 403

    await as_admin.request(method, path.format(id=ana.id), json=body, headers=once)

    assert (await as_ana.post("/api/users", json=admins_only)).status_code == 201
    await as_admin.patch(f"/api/users/{ana.id}", json={"role": "user"})
    assert (await as_ana.post("/api/users", json={**admins_only, "email": "n2@example.com"})).status_code == 403


async def test_a_disabled_user_is_out_at_once_and_in_again_when_enabled(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    assert (await as_ana.get("/api/users/me")).status_code == 200
    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": True})
    assert (await as_ana.get("/api/users/me")).status_code == 401
    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": False})
    assert (await as_ana.get("/api/users/me")).status_code == 200


@pytest.mark.parametrize("once", [{}, {"Idempotency-Key": "remove"}], ids=["", "keyed"])
async def test_a_user_deleted_in_bulk_is_out_at_once(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, once: dict[str, str]
) -> None:
    assert (await as_ana.get("/api/users/me")).status_code == 200

    deleted = await as_admin.post(
        "/api/users/bulk", json={"operations": [{"action": "delete", "id": str(ana.id)}]}, headers=once
    )

    assert deleted.json()["failed"] == 0
    assert (await as_ana.get("/api/users/me")).status_code == 401


async def test_a_key_is_looked_up_once_a_second(
    access: Access, keys: KeyService, rows: CountingKeys, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await come(access, ana.key)
    assert await come(access, ana.key) == first
    assert rows.lookups == 1

    later(monkeypatch, REMEMBERED_SECONDS)
    assert await come(access, ana.key) == first
    assert rows.lookups == 2


async def test_a_revocation_by_another_process_counts_within_a_second(
    services: Services, access: Access, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal = await come(access, ana.key)
    assert principal.key_id is not None
    await services.keys.delete(EVERYTHING, principal.key_id)
    assert await come(access, ana.key) == principal

    later(monkeypatch, REMEMBERED_SECONDS)
    assert await is_refused(access, ana.key)


async def test_a_key_that_expires_while_it_is_remembered_is_refused(
    access: Access, keys: KeyService, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiry = now() + timedelta(hours=1)
    _, key = await keys.create(ana.id, KeyCreate(name="k", expires_at=expiry))
    await come(access, key)

    for module in (memory, service):
        monkeypatch.setattr(module, "now", lambda: expiry)

    assert await is_refused(access, key)


async def test_a_lookup_that_began_before_a_revocation_is_not_remembered(
    access: Access, keys: KeyService, rows: CountingKeys, ana: Person
) -> None:
    row, key = await keys.create(ana.id, KeyCreate(name="k"))
    rows.answered, rows.proceed = asyncio.Event(), asyncio.Event()
    early = asyncio.create_task(come(access, key))
    await rows.answered.wait()

    await keys.delete(EVERYTHING, row["_id"])
    rows.proceed.set()
    await early

    assert await is_refused(access, key)


async def test_a_change_that_seems_to_have_failed_is_looked_up_too(
    services: Services, as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    assert (await as_ana.get("/api/users/me")).status_code == 200
    collection = services.users.rows.collection

    async def outcome_unknown() -> None:
        with services.keys.forgetting():
            await collection.update_one({"_id": ana.id}, {"$set": {"disabled": True}})
            raise PyMongoError("the answer was lost")

    with pytest.raises(PyMongoError):
        await outcome_unknown()

    assert (await as_ana.get("/api/users/me")).status_code == 401


async def test_many_requests_at_once_come_from_the_same_principal(
    access: Access, keys: KeyService, rows: CountingKeys, ana: Person
) -> None:
    principals = await asyncio.gather(*(come(access, ana.key) for _ in range(50)))
    lookups = rows.lookups

    assert set(principals) == {await come(access, ana.key)}
    assert rows.lookups == lookups


async def test_the_use_of_a_key_is_noted_once_a_minute(
    access: Access, keys: KeyService, rows: CountingKeys, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = now()

    async def use(instant: datetime) -> int:
        monkeypatch.setattr(service, "now", lambda: instant)
        with keys.forgetting():
            await come(access, ana.key)
        await keys.aclose()
        return rows.touches

    assert await use(begin) == 1
    assert await use(begin + timedelta(seconds=59)) == 1
    assert await use(begin + timedelta(seconds=60)) == 2


async def test_a_use_that_cannot_be_noted_refuses_nobody(
    access: Access, keys: KeyService, rows: CountingKeys, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise PyMongoError("no primary")

    monkeypatch.setattr(rows, "touch", fail)

    assert (await come(access, ana.key)).user_id == ana.id
    await keys.aclose()


async def test_the_memory_is_bounded(
    access: Access, keys: KeyService, rows: CountingKeys, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "REMEMBERED_CREDENTIALS", 3)
    made = [(await keys.create(ana.id, KeyCreate(name=str(number))))[1] for number in range(10)]

    for key in made:
        await come(access, key)

    assert len(access.memory._known) <= 3
    assert rows.lookups == len(made)
