"""Undoing: what an import has added and nobody has changed since goes, and nothing else."""

from typing import Any

import pytest
from bson import ObjectId

from app.conversations.schemas import MessageCreate
from app.imports import drafts, undo
from app.imports.service import ImportOptions
from app.kit.errors import Conflict, NotFound
from app.kit.repository import EVERYTHING, Row, Scope
from app.services import Services
from tests.conftest import Person
from tests.imports.conftest import Write
from tests.imports.stored import assert_each_once, numbered, stored, transcript

pytestmark = pytest.mark.mongod  # jobs are claimed under a lease of the database's clock
NO_OPTIONS = ImportOptions()


async def undone(services: Services, id: ObjectId, *, force: bool = False) -> Row:
    return await services.imports.undo_here(EVERYTHING, id, force=force, progress=lambda _: None)


async def test_what_nobody_has_changed_goes(services: Services, ana: Person, write: Write) -> None:
    await services.imports.run_here(write(numbered(3), "before.jsonl"), ana.id, NO_OPTIONS)
    row = await services.imports.run_here(write(numbered(7), "all.jsonl"), ana.id, NO_OPTIONS)
    assert (row["state"], row["conversations"], row["present"]) == ("completed", 4, 3)

    done = await undone(services, row["_id"])

    assert (done["action"], done["state"], done["removed"], done["kept"]) == ("undo", "completed", 4, 0)
    await assert_each_once(services, ana, 3)
    assert await services.conversations.messages.collection.count_documents({"owner_id": ana.id}) == 6
    after = await services.imports.rows.get(EVERYTHING, row["_id"])
    assert after["undone"] == {"id": done["_id"], "removed": 4, "kept": 0}

    again = await services.imports.run_here(write(numbered(7), "all.jsonl"), ana.id, NO_OPTIONS)
    assert again["conversations"] == 4


async def test_what_was_changed_is_named_and_stays_unless_forced(services: Services, ana: Person, write: Write) -> None:
    row = await services.imports.run_here(write(numbered(6)), ana.id, NO_OPTIONS)
    by_source = await stored(services, ana)
    ids = [by_source[f"jsonl:c-{number}"]["_id"] for number in range(6)]
    talks = services.conversations
    await talks.append(EVERYTHING, ids[0], [MessageCreate(role="user", content="more")])
    await talks.patch(EVERYTHING, ids[1], {"title": "Better"}, None)
    rated = (await transcript(services, ids[2]))[0]["_id"]
    await talks.patch_message(EVERYTHING, rated, {"feedback": {"rating": "up"}}, None)
    await talks.delete(EVERYTHING, ids[3], None)

    done = await undone(services, row["_id"])
    assert (done["removed"], done["kept"]) == (2, 4)
    assert {each["id"] for each in done["kept_first"]} == set(ids[:4])
    assert {each["title"] for each in done["kept_first"]} == {"好", "Better"}
    assert {each["_id"] for each in (await stored(services, ana)).values()} == set(ids[:4])
    assert len(await transcript(services, ids[0])) == 3

    done = await undone(services, row["_id"], force=True)
    assert (done["removed"], done["kept"]) == (4, 0)
    assert await stored(services, ana) == {}
    assert await talks.messages.collection.count_documents({"owner_id": ana.id}) == 0


async def test_a_conversation_too_long_for_a_transaction_goes_as_well(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "MAX_MESSAGES", 4)
    monkeypatch.setattr(undo, "MAX_MESSAGES", 4)
    row = await services.imports.run_here(write(numbered(2, messages=11)), ana.id, NO_OPTIONS)
    assert {each["version"] for each in (await stored(services, ana)).values()} == {1}

    assert (await undone(services, row["_id"]))["removed"] == 2
    assert await stored(services, ana) == {}
    assert await services.conversations.messages.collection.count_documents({}) == 0


async def test_a_change_in_the_middle_of_an_undo_is_kept(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await services.imports.run_here(write(numbered(3)), ana.id, NO_OPTIONS)
    id = (await stored(services, ana))["jsonl:c-1"]["_id"]
    imported: Any = services.imports._work._undoing._conversations
    withdraw = imported.withdraw
    is_first = True

    async def meanwhile(owner_id: ObjectId, ids: set[ObjectId]) -> int:
        nonlocal is_first
        if is_first:
            is_first = False
            # Outside of the transaction, as another request would; the undo then meets it and looks again.
            await services.conversations.rows.collection.update_one(
                {"_id": id}, {"$set": {"title": "Mine"}, "$inc": {"version": 1}}
            )
        return int(await withdraw(owner_id, ids))

    monkeypatch.setattr(imported, "withdraw", meanwhile)
    done = await undone(services, row["_id"])

    assert (done["removed"], done["kept"]) == (2, 1)
    assert done["kept_first"][0]["id"] == id
    assert len(await transcript(services, id)) == 2


async def test_an_undo_that_was_cut_short_goes_on(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undo, "BATCH", 2)
    row = await services.imports.run_here(write(numbered(5)), ana.id, NO_OPTIONS)

    def stop(report: undo.UndoReport) -> None:
        raise Conflict("stopped")

    with pytest.raises(Conflict, match="stopped"):
        await services.imports.undo_here(EVERYTHING, row["_id"], force=False, progress=stop)
    assert len(await stored(services, ana)) == 3
    assert (await undone(services, row["_id"]))["removed"] == 3


async def test_only_imports_that_are_over_and_may_be_seen_can_be_undone(
    services: Services, ana: Person, ben: Person, write: Write
) -> None:
    row = await services.imports.run_here(write(numbered(1)), ana.id, NO_OPTIONS)
    dry = await services.imports.run_here(write(numbered(1)), ana.id, ImportOptions(dry_run=True))
    with pytest.raises(NotFound):
        await services.imports.create_undo(Scope({"owner_id": ben.id}), row["_id"], force=False)
    with pytest.raises(Conflict, match="this is a dry run"):
        await services.imports.create_undo(EVERYTHING, dry["_id"], force=False)
    await services.imports.rows.collection.update_one({"_id": row["_id"]}, {"$set": {"state": "running"}})
    with pytest.raises(Conflict, match="This import is running; cancel it first"):
        await undone(services, row["_id"])
