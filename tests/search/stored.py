"""Messages and what is stored of their index."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any

from bson import ObjectId

from app.conversations.content_index import content_index
from app.conversations.model import Message
from app.conversations.repository import MessageRepository
from app.conversations.resource import MESSAGES
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING
from app.search.index import TextIndex
from app.search.model import SearchBlock, SearchIndex, SearchKeys, SearchRemoved, SearchSegment
from app.search.segments import Outline
from app.search.table import MARK
from app.search.terms import group_term

START = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = ObjectId()
_NUMBERS = count(1)


async def store(
    messages: MessageRepository, *contents: str, conversation: ObjectId | None = None, **fields: Any
) -> list[ObjectId]:
    """Their ids. All of one second, so that much lies at the same place of the list."""
    home = conversation or ObjectId()
    numbers = islice(_NUMBERS, len(contents))
    rows = [
        Message(
            conversation_id=home,
            seq=number,
            content=content,
            **{"owner_id": OWNER, "role": "user", "created_at": START + timedelta(milliseconds=number % 3), **fields},
        )
        for number, content in zip(numbers, contents, strict=True)
    ]
    await messages.insert_many(rows)
    return [row.id for row in rows]


async def found(messages: MessageRepository, query: str, **parameters: str) -> list[ObjectId]:
    """The ids of all pages, in the order of the ids."""
    given = {"q": query, "match": "literal", "limit": "50", **parameters}
    ids: list[ObjectId] = []
    while True:
        page = await messages.page(EVERYTHING, parse_listing(MESSAGES, given.items()))
        assert not page.partial
        ids += [row["_id"] for row in page.rows]
        if page.next is None:
            return sorted(ids)
        given["after"] = page.next


async def build(index: TextIndex) -> None:
    """Rounds until there is nothing to do."""
    while await index.builder.round(least=1):
        pass


async def unmarked() -> int:
    return await content_index().unmarked()


async def expire_lease() -> None:
    """Make whoever builds one that has been silent for too long."""
    await SearchIndex.get_pymongo_collection().update_one({}, {"$set": {"expires_at": START}})


async def end_grace() -> None:
    """Make the segments that were replaced ones of long ago."""
    known = {"retired": {"$exists": True}}
    await SearchIndex.get_pymongo_collection().update_one(known, {"$set": {"retired.$[].at": START}})


async def segment_ids() -> list[ObjectId]:
    return await content_index().store.segment_ids()


async def written_segments() -> set[ObjectId]:
    """The segments of which anything is stored."""
    outlines = await SearchSegment.get_pymongo_collection().distinct("_id")
    parts = [
        row["_id"]
        for document in (SearchBlock, SearchKeys)
        for row in await document.get_pymongo_collection().find({}, {"_id": 1}).to_list()
    ]
    return {*outlines, *(ObjectId(id[:12]) for id in parts)}


async def stored_terms() -> set[bytes]:
    """The terms of all blocks, whether a segment names them or not."""
    rows = await SearchBlock.get_pymongo_collection().find().to_list()
    return {row["t"][end - length : end] for row in rows for length, end in zip(row["l"], _ends(row["l"]), strict=True)}


def _ends(lengths: Sequence[int]) -> list[int]:
    ends: list[int] = []
    for length in lengths:
        ends.append(length + (ends[-1] if ends else 0))
    return ends


async def stored_ids() -> list[ObjectId]:
    """The ids of the messages that segments have, once a segment."""
    store = content_index().store
    outlines: list[Outline] = await store.outlines(list(await written_segments()))
    keys = [await store.all_keys(outline) for outline in outlines]
    return [ObjectId(part[number][1]) for part in keys for number in range(len(part)) if part[number][1] != bytes(12)]


async def traces(conversation: ObjectId, ids: Sequence[ObjectId], word: str) -> list[str]:
    """Where something is left of a conversation's messages, all of which have the word and no others do."""
    terms = await stored_terms()
    places = {
        "group": group_term(conversation) in terms,
        "word": any(word[at : at + 3].encode() in terms for at in range(len(word) - 2)),
        "keys": not set(ids).isdisjoint(await stored_ids()),
        "removed": bool(await SearchRemoved.get_pymongo_collection().count_documents({})),
        "messages": bool(await Message.get_pymongo_collection().count_documents({"_id": {"$in": list(ids)}})),
    }
    return [name for name, is_there in places.items() if is_there]


async def marks() -> int:
    """How many messages have a mark."""
    return await Message.get_pymongo_collection().count_documents({MARK: True})


async def outlined() -> tuple[set[bytes], set[ObjectId]]:
    """The terms and the ids of rows that the outlines of the index show."""
    outlines = await content_index().store.outlines(await segment_ids())
    ids = {ObjectId(each.first_keys[number][1]) for each in outlines for number in range(len(each.first_keys))}
    ids |= {ObjectId(each.last_key[1]) for each in outlines}
    return {term for each in outlines for term in each.directory.first_terms}, ids


async def age_scrubbing() -> None:
    """Make all that was taken out of segments something of long ago."""
    await SearchSegment.get_pymongo_collection().update_many(
        {"scrubbed_at": {"$exists": True}}, {"$set": {"scrubbed_at": START}}
    )
