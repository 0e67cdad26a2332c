"""The work of the migrations. What a step has once meant stays: databases of every age pass through it.

Each looks for what is still to be done, so that it may be cut short anywhere and done again. None sets a field on which
a watcher of the change feed acts (`app/kit/changes.py`): clients would be told of changes that nobody has made.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import pymongo
from pymongo import UpdateOne

from app.conversations.content_index import content_index
from app.conversations.model import Message
from app.database import DOCUMENTS, Database
from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.documents import StoredDocument
from app.kit.normal_form import form_path, form_to_store
from app.kit.reindexing import Reindexing
from app.migrations import indexes
from app.migrations.backfill import in_batches, update_in_batches
from app.migrations.model import Step
from app.turns.model import TurnEvents

# --- indexes ---


async def lacks_indexes(_: Database) -> bool:
    return bool(await indexes.drift(DOCUMENTS, "missing"))


async def build_indexes(_: Database, __: Any) -> AsyncGenerator[Step, None]:
    """All that documents declare; done again whenever one is missing, which is how a new one comes."""
    async for step in indexes.build(await indexes.drift(DOCUMENTS, "missing")):
        yield step


_FIRST_KEY_OF_EVENTS = "seq_v1"


async def is_closed_to_turn_events(_: Database) -> bool:
    with pymongo.timeout(READ_SECONDS):
        return _FIRST_KEY_OF_EVENTS in await TurnEvents.get_pymongo_collection().index_information()


async def free_turn_events(_: Database, __: Any) -> AsyncGenerator[Step, None]:
    """Events once had `turn_id` and `seq` at their top, unique together. Now they are the id: to that index all events
    are the same one, of which it lets nobody store a second."""
    await indexes.drop(TurnEvents.get_pymongo_collection(), _FIRST_KEY_OF_EVENTS)
    yield Step(1, 1, what="turn_events")


async def has_retired_indexes(_: Database) -> bool:
    return bool(await indexes.drift(DOCUMENTS, "retired"))


async def drop_retired_indexes(_: Database, __: Any) -> AsyncGenerator[Step, None]:
    found = await indexes.drift(DOCUMENTS, "retired")
    for done, each in enumerate(found):
        yield Step(done, len(found), what=str(each))
        await indexes.drop(each.collection, each.name)
    yield Step(len(found), len(found))


# --- windows of short texts ---


def reindexings() -> list[Reindexing]:
    """One for each kind of row that is searched through windows."""
    return [
        Reindexing(document) for document in DOCUMENTS if issubclass(document, StoredDocument) and document.windowed
    ]


async def lacks_windows(_: Database) -> bool:
    return any([await each.lacking() for each in reindexings()])


async def give_windows(_: Database, __: Any) -> AsyncGenerator[Step, None]:
    """Windows for rows that have none; which these are the database knows, so it needs no place."""
    for each in reindexings():
        total, done = await each.lacking(), 0
        yield Step(done, total, what=each.name)
        async with aclosing(each.fill()) as batches:
            async for count in batches:
                done += count
                yield Step(done, max(done, total), what=each.name)


# --- fields that came later ---

_MILLISECOND = "millisecond"


def _since_start(path: str) -> Mapping[str, Any]:
    """Milliseconds from the start of a turn to that instant, never less than nothing; null where there is none."""
    begun = {"$ifNull": ["$started_at", "$created_at"]}
    taken = {"$dateDiff": {"startDate": begun, "endDate": f"${path}", "unit": _MILLISECOND}}
    return {"$cond": [{"$eq": [{"$type": f"${path}"}, "date"]}, {"$max": [0, taken]}, None]}


_EMPTY: Mapping[str, Any] = {"$literal": []}
LATER_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "users": {"epoch": 0, "external_id": None, "admin_lock": None, "hold_id": None},
    "api_keys": {"quota": None},
    "conversations": {
        "waiting_turn_ids": _EMPTY,
        "parent": None,
        "readers": _EMPTY,
        "writers": _EMPTY,
        "import_id": None,
        "hold_id": None,
        "purging_at": None,
    },
    "messages": {"tool_calls": None, "tool_call_id": None, "reasoning": None, "cost": None},
    "turns": {
        "attempts": _EMPTY,
        "failed_attempts": {"$size": {"$ifNull": ["$attempts", []]}},
        "served_model": {"$cond": [{"$eq": ["$state", "completed"]}, "$model", None]},
        "provider": None,
        "cost": None,
        "first_token_ms": _since_start("first_token_at"),
        "total_ms": _since_start("finished_at"),
        "payer": None,
    },
}
"""What rows lack that were stored before a field was there, and what it then has been: the times of turns can be told
from their instants, which is what lists and sums of usage are made of."""


async def fill_later_fields(database: Database, place: Any) -> AsyncGenerator[Step, None]:
    def filling(name: str) -> Update:
        fields = LATER_FIELDS[name]
        lacks = {"$or": [{field: {"$exists": False}} for field in fields]}
        return lacks, [{"$set": {field: {"$ifNull": [f"${field}", value]} for field, value in fields.items()}}]

    async with aclosing(_walk(database, {name: filling(name) for name in LATER_FIELDS}, place)) as steps:
        async for step in steps:
            yield step


Update = tuple[Mapping[str, Any], Any]
"""The condition of the rows that need it, and the change."""


async def _walk(database: Database, updates: Mapping[str, Update], place: Any) -> AsyncGenerator[Step, None]:
    """Update collections one after the other. `place`: {collection, at}, the one that is walked and the place in it."""
    names = list(updates)
    begun = names.index(place["collection"]) if place else 0
    for name in names[begun:]:
        at = place["at"] if place and place["collection"] == name else None
        async with aclosing(update_in_batches(database.client[database.name][name], *updates[name], at)) as steps:
            async for step in steps:
                yield Step(step.done, step.total, {"collection": name, "at": step.place}, name)


# --- normal forms of messages ---

_FORM = form_path("content")
_FORMS_AT_ONCE = 100


async def give_forms(_: Database, place: Any) -> AsyncGenerator[Step, None]:
    """Normal forms of messages that were stored without; few have one. A text that is whole does not change any more,
    and a server of this version stores the form of one that grows."""
    collection = Message.get_pymongo_collection()

    async def store(batch: Mapping[str, Any]) -> None:
        may_have_one = {"content": {"$regex": r"[^\x00-\x7f]"}, "status": {"$ne": "streaming"}, _FORM: None}
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            async with collection.find({**batch, **may_have_one}, {"content": 1}, batch_size=_FORMS_AT_ONCE) as rows:
                writes = [
                    UpdateOne({"_id": row["_id"]}, {"$set": {_FORM: form}})
                    async for row in rows
                    if (form := form_to_store(row["content"])) is not None
                ]
        for first in range(0, len(writes), _FORMS_AT_ONCE):
            with pymongo.timeout(EXPORT_PAGE_SECONDS):
                await collection.bulk_write(writes[first : first + _FORMS_AT_ONCE], ordered=False)

    async with aclosing(in_batches(collection, store, place)) as steps:
        async for step in steps:
            yield step


# --- the first form of the search index ---

_RETIRED_COLLECTIONS = ("search_indexes", "search_segments", "search_blocks", "search_keys", "search_removed")
_RETIRED_FIELDS: Mapping[str, str] = {"users": "windows_v1", "conversations": "windows_v1", "messages": "indexed_v1"}


async def drop_retired_search(database: Database, place: Any) -> AsyncGenerator[Step, None]:
    for name in _RETIRED_COLLECTIONS:
        with pymongo.timeout(WRITE_SECONDS):
            await database.client[database.name].drop_collection(name)
    updates: Mapping[str, Update] = {
        name: ({field: {"$exists": True}}, {"$unset": {field: ""}}) for name, field in _RETIRED_FIELDS.items()
    }
    async with aclosing(_walk(database, updates, place)) as steps:
        async for step in steps:
            yield step


# --- edges of texts in the search index ---


async def lacks_edges(database: Database) -> bool:
    """Whether a segment does not tell where texts begin and end, and the index is not being made anew already."""
    rows = database.client[database.name]
    with pymongo.timeout(READ_SECONDS):
        index = await rows["search_indexes_v2"].find_one({"_id": "messages", "rebuild": None}, {"segments": 1})
        if index is None:
            return False
        older = {"_id": {"$in": index["segments"]}, "edges": {"$ne": True}}
        return await rows["search_segments_v2"].find_one(older, {"_id": 1}) is not None


async def give_edges(database: Database, _: Any) -> AsyncGenerator[Step, None]:
    """Have whoever builds the index make it anew, beside the searches, which use what is there until then."""
    if await lacks_edges(database):
        await content_index().store.begin_rebuilding()
    yield Step(1, 1, what="search index")
