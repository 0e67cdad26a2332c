"""The stored presence: what others have left behind, and a process that others believed dead."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from bson import ObjectId
from pymongo.errors import ServerSelectionTimeoutError

from app.kit.clock import now
from app.kit.repository import Row
from app.rooms import service
from app.rooms.model import Presence
from app.rooms.repository import KEPT, PresenceRepository
from app.services import Services
from tests.conftest import Person
from tests.rooms.sockets import connect

pytestmark = pytest.mark.mongod


def row(conversation: str, worker: str) -> Row:
    key = {"conversation_id": ObjectId(conversation.rpartition("/")[2]), "subscription": ObjectId()}
    return {"_id": key, "user_id": ObjectId(), "name": worker.capitalize(), "worker": worker}


async def stored() -> list[Row]:
    return await Presence.get_pymongo_collection().find().to_list()


async def test_what_dead_workers_have_left_is_removed_and_the_room_is_told(
    live_url: str, ana: Person, conversation: str, services: Services
) -> None:
    await PresenceRepository().put([row(conversation, "dead"), row(conversation, "alive")])
    async with connect(live_url, ana) as socket:
        assert len((await socket.subscribe(conversation))["presence"]) == 3
        await services.rooms.tidy(["dead", "another"])
        assert {each["name"] for each in (await socket.next("presence"))["users"]} == {"Ana", "Alive"}


async def test_a_process_that_was_declared_dead_is_present_under_its_new_name(
    live_url: str, ana: Person, conversation: str, services: Services
) -> None:
    membership = services.housekeeping._membership
    before = membership.id
    for task in services.housekeeping._tasks:  # which would renew in between
        task.cancel()
    await asyncio.wait(services.housekeeping._tasks)
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        worker = next(each for each in await membership._rows._collection.find().to_list() if each["_id"] == before)
        assert await membership._rows.declare_dead(worker)
        await services.rooms.tidy([before])
        assert await stored() == []
        await membership.renew()
        assert (await socket.next("presence", users=[{"id": str(ana.id), "name": "Ana"}]))["users"]
        assert [each["worker"] for each in await stored()] == [membership.id] != [before]


async def test_presence_expires_unless_it_is_renewed(
    live_url: str, ana: Person, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        collection = Presence.get_pymongo_collection()
        await collection.update_many({}, {"$set": {"expires_at": now() + timedelta(minutes=1)}})
        await services.rooms.tidy([])
        assert (await stored())[0]["expires_at"] < now() + timedelta(minutes=2)
        services.rooms._renewed_at -= KEPT.total_seconds() / service._RENEWALS
        await services.rooms.tidy([])
        assert (await stored())[0]["expires_at"] > now() + KEPT / 2
    indexes = await collection.index_information()
    assert indexes["expiry_v1"]["expireAfterSeconds"] == 0


async def test_a_removal_that_fails_is_made_up_for(
    live_url: str, ana: Person, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        with monkeypatch.context() as broken:

            async def remove(self: PresenceRepository, ids: object) -> None:
                raise ServerSelectionTimeoutError("no primary")

            broken.setattr(PresenceRepository, "remove", remove)
            left = await socket.ask("unsubscribe", conversation_id=conversation.rpartition("/")[2])
            assert left["type"] == "unsubscribed"
            assert len(await stored()) == 1
        await services.rooms.tidy([])
        assert await stored() == []


async def test_a_refused_subscription_leaves_nothing(
    live_url: str, ben: Person, as_ana: httpx.AsyncClient, conversation: str, services: Services
) -> None:
    async with connect(live_url, ben) as socket:
        refused = await socket.ask("subscribe", conversation_id=conversation.rpartition("/")[2])
        assert refused["code"] == "not_found"
    assert await stored() == []
    assert services.rooms._rooms == {}
    assert services.rooms._left == []
