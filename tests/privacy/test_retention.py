"""Retention policies: what is old enough goes, once, and nothing else."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.model import Conversation, Message
from app.kit.clock import now
from app.privacy.purging import Purging
from app.services import Services
from tests.conftest import Person

pytestmark = pytest.mark.mongod


async def conversation(
    services: Services, owner: Person, title: str, *, days: float, tags: tuple[str, ...] = (), empty: bool = False
) -> ObjectId:
    """One whose last message, or without any it itself, is so old."""
    instant = now() - timedelta(days=days)
    row = Conversation(
        owner_id=owner.id,
        title=title,
        tags=list(tags),
        created_at=instant,
        last_message_at=None if empty else instant,
        last_seq=0 if empty else 1,
        message_count=0 if empty else 1,
    )
    await services.conversations.rows.insert_many([row])
    if not empty:
        message = Message(conversation_id=row.id, owner_id=owner.id, seq=1, role="user", content=title)
        await services.conversations.messages.insert_many([message])
    return ObjectId(row.id)


async def policy(client: httpx.AsyncClient, **fields: Any) -> str:
    body = {"name": "old", "days": 30, "roles": ["user"], "enabled": True, **fields}
    response = await client.post("/api/retention", json=body)
    assert response.status_code == 201, response.text
    path: str = response.headers["location"]
    return path


async def titles(client: httpx.AsyncClient) -> set[str]:
    return {each["title"] for each in (await client.get("/api/conversations")).json()["items"]}


async def test_the_old_ones_of_the_role_go_and_the_others_stay(
    as_admin: httpx.AsyncClient, services: Services, ana: Person, analyst: Person
) -> None:
    await conversation(services, ana, "old", days=31)
    await conversation(services, ana, "old and empty", days=31, empty=True)
    await conversation(services, ana, "new", days=29)
    await conversation(services, analyst, "an analyst's", days=31)
    path = await policy(as_admin)

    tried = (await as_admin.post(f"{path}/dry-run")).json()
    before = await titles(as_admin)
    ran = await services.privacy.retention.run_due()

    assert (tried["conversations"], tried["messages"], tried["held"], tried["complete"]) == (2, 1, 0, True)
    assert len(before) == 4
    assert ran == 1
    assert await titles(as_admin) == {"new", "an analyst's"}
    assert await services.conversations.messages.collection.count_documents({"content": "old"}) == 0
    last_run = (await as_admin.get(path)).json()["last_run"]
    assert (last_run["removed"], last_run["held"], last_run["spared"]) == (2, 0, 0)
    assert await services.privacy.retention.run_due() == 0
    found = (await as_admin.get("/api/audit", params={"action": "conversation.purged"})).json()["items"]
    assert {each["request_id"] for each in found} == {f"retention:{path.rpartition('/')[2]}"}
    assert {each["actor_kind"] for each in found} == {"system"}


async def test_by_tag_and_by_both(
    as_admin: httpx.AsyncClient, services: Services, ana: Person, analyst: Person
) -> None:
    await conversation(services, ana, "tagged", days=40, tags=("scratch", "x"))
    await conversation(services, analyst, "an analyst's", days=40, tags=("scratch",))
    await conversation(services, ana, "other", days=40, tags=("x",))

    both = await policy(as_admin, tags=["scratch"])
    by_tag = await policy(as_admin, roles=[], tags=["scratch"], enabled=False)

    assert (await as_admin.post(f"{both}/dry-run")).json()["conversations"] == 1
    assert (await as_admin.post(f"{by_tag}/dry-run")).json()["conversations"] == 2
    await services.privacy.retention.run_due()
    assert await titles(as_admin) == {"an analyst's", "other"}


async def test_what_is_held_stays(as_admin: httpx.AsyncClient, services: Services, ana: Person, ben: Person) -> None:
    held = await conversation(services, ana, "held", days=40)
    await conversation(services, ben, "of one who is held", days=40)
    await conversation(services, ana, "free", days=40)
    for resource, id in (("conversations", held), ("users", ben.id)):
        body = {"resource": resource, "target_id": str(id), "reason": "case 7"}
        assert (await as_admin.post("/api/holds", json=body)).status_code == 201
    path = await policy(as_admin)

    tried = (await as_admin.post(f"{path}/dry-run")).json()
    await services.privacy.retention.run_due()

    assert (tried["conversations"], tried["held"]) == (1, 2)
    assert await titles(as_admin) == {"held", "of one who is held"}
    assert (await as_admin.get(path)).json()["last_run"]["held"] == 2


async def test_a_word_in_the_last_moment_spares(
    as_admin: httpx.AsyncClient,
    as_ana: httpx.AsyncClient,
    services: Services,
    ana: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id = await conversation(services, ana, "awake", days=40)
    path = await policy(as_admin)
    purge = Purging.purge

    async def speak_first(self: Purging, *arguments: Any, **options: Any) -> None:
        await as_ana.post(f"/api/conversations/{id}/messages", json={"role": "user", "content": "wait"})
        await purge(self, *arguments, **options)

    monkeypatch.setattr(Purging, "purge", speak_first)
    await services.privacy.retention.run_due()

    assert await titles(as_admin) == {"awake"}
    assert (await as_admin.get(path)).json()["last_run"]["spared"] == 1


async def test_of_many_processes_one_works_on_a_policy(
    as_admin: httpx.AsyncClient, services: Services, ana: Person
) -> None:
    for number in range(5):
        await conversation(services, ana, f"old {number}", days=40)
    path = await policy(as_admin)

    ran = await asyncio.gather(*(services.privacy.retention.run_due() for _ in range(4)))

    assert sorted(ran) == [0, 0, 0, 1]
    assert (await as_admin.get(path)).json()["last_run"]["removed"] == 5


async def test_a_policy_that_is_switched_off_ends(
    as_admin: httpx.AsyncClient, services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await conversation(services, ana, f"old {number}", days=40)
    path = await policy(as_admin)
    purge = Purging.purge

    async def switch_off(self: Purging, *arguments: Any, **options: Any) -> None:
        await purge(self, *arguments, **options)
        assert (await as_admin.patch(path, json={"enabled": False})).status_code == 200

    monkeypatch.setattr(Purging, "purge", switch_off)
    await services.privacy.retention.run_due()

    assert len(await titles(as_admin)) == 2


async def test_a_policy_that_is_changed_runs_anew_as_it_is_then(
    as_admin: httpx.AsyncClient, services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await conversation(services, ana, "very old", days=400)
    for number in range(3):
        await conversation(services, ana, f"old {number}", days=40)
    path = await policy(as_admin)
    purge = Purging.purge

    async def narrow(self: Purging, *arguments: Any, **options: Any) -> None:
        await purge(self, *arguments, **options)
        assert (await as_admin.patch(path, json={"days": 39})).status_code == 200
        monkeypatch.setattr(Purging, "purge", purge)

    monkeypatch.setattr(Purging, "purge", narrow)

    assert await services.privacy.retention.run_due() == 2
    assert await titles(as_admin) == set()
    assert (await as_admin.get(path)).json()["last_run"]["removed"] == 3


async def test_a_policy_has_to_be_narrow_and_begins_switched_off(as_admin: httpx.AsyncClient) -> None:
    users = {"name": "x", "roles": ["user"]}
    for wrong in ({"days": 30, "name": "all"}, {**users, "days": 0}, users):
        assert (await as_admin.post("/api/retention", json=wrong)).status_code == 422, wrong
    made = await as_admin.post("/api/retention", json={"name": "x", "days": 1, "roles": ["user"]})
    assert made.json()["enabled"] is False
    changed = await as_admin.patch(made.headers["location"], json={"roles": []})
    assert changed.status_code == 422
    assert (await as_admin.delete(made.headers["location"])).status_code == 204
    assert (await as_admin.get(made.headers["location"])).status_code == 404
