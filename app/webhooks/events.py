"""Which changes of the database are events, and what each of them says.

An event is recognized in the log, where it cannot be missing and what was rolled back cannot be. What it says is read
from the row, which may have gone on a little since: `version` and `seq` tell. Its id follows from what happened, so
that it stays the same whoever reads the log again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from bson import ObjectId

from app.conversations.repository import ConversationRepository, MessageRepository
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.kit.repository import EVERYTHING, Repository, Row
from app.kit.responses import to_json
from app.turns.model import TERMINAL_STATES
from app.turns.repository import TurnRepository
from app.turns.resource import TURNS
from app.webhooks.model import EventType, NoticeType

MAX_TEXT_BYTES = 64 * 1024
"""Of a message's texts as JSON: longer ones are left out whole, and read with GET."""
_LONG = ("content", "reasoning", "tool_calls")
_EDITED = ("title", "system_prompt", "model", "tags", "metadata", "status")
"""Fields of a conversation whose change is an update; the others go with its messages and turns."""
_ENDS = ("complete", "failed", "interrupted", "cancelled")
_UPDATED = "updateDescription.updatedFields"

Wanted = Callable[[str, ObjectId | None], bool]
"""Whether somebody may hear of an event of this type and owner; of what is the owner not known yet."""
Name = tuple[str, str]
"""The type of an event, and what tells it from others of its type and row."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a row, at a place in the log."""

    type: EventType
    id: str
    at: datetime
    position: int
    owner_id: ObjectId
    conversation_id: ObjectId | None
    data: Mapping[str, Any]

    @property
    def body(self) -> str:
        return body_of(self.type, self.at, self.data)


@dataclass(frozen=True)
class Source:
    """A collection whose changes are events of these types.

    `condition`: a Mongo filter over change events, which runs in the database. `updated` and `inserted`: the fields of
    such a change that `name` reads. `render`: what an event says of a row.
    """

    types: Collection[str]
    rows: Repository[Any]
    condition: Mapping[str, Any]
    name: Callable[[Row], Name]
    render: Callable[[Row], Mapping[str, Any]]
    updated: Sequence[str] = ()
    inserted: Sequence[str] = ()

    @property
    def collection(self) -> str:
        return self.rows.collection.name


def sources(
    conversations: ConversationRepository, messages: MessageRepository, turns: TurnRepository
) -> tuple[Source, ...]:
    """What is told of conversations, their messages and turns."""
    return _of_conversations(conversations), _of_messages(messages), ended(turns, "turn", TERMINAL_STATES, TURNS.render)


def _of_conversations(rows: ConversationRepository) -> Source:
    changed = [
        {"operationType": "update", f"{_UPDATED}.{field}": {"$exists": True}} for field in ("transition", *_EDITED)
    ]
    return Source(
        tuple(f"conversation.{event}" for event in ("created", "updated", "deleted", "restored")),
        rows,
        {"$or": [{"operationType": "insert", "fullDocument.status": {"$ne": "deleted"}}, *changed]},
        _name_of_conversation,
        CONVERSATIONS.render,
        updated=("transition", "version"),
        inserted=("source_id",),
    )


def _of_messages(rows: MessageRepository) -> Source:
    whole = {"fullDocument.status": {"$ne": "streaming"}, "fullDocument.deleted_at": None}
    ended = {"operationType": "update", f"{_UPDATED}.status": {"$in": list(_ENDS)}}
    return Source(
        ("message.created",),
        rows,
        {"$or": [{"operationType": "insert", **whole}, ended]},
        lambda _: ("message.created", ""),
        render_message,
        inserted=("conversation_id", "owner_id"),
    )


def ended(
    rows: Repository[Any], noun: str, states: Sequence[str], render: Callable[[Row], Mapping[str, Any]]
) -> Source:
    """Rows with a `state` that comes to one of these ends: events `<noun>.<state>`."""
    return Source(
        tuple(f"{noun}.{state}" for state in states),
        rows,
        {"operationType": "update", f"{_UPDATED}.state": {"$in": list(states)}},
        lambda change: (f"{noun}.{_fields_of(change)['state']}", ""),
        render,
        updated=("state",),
    )


class EventReader:
    """Makes events of the changes of one stream, in its order.

    `types`: those that somebody wants to hear of; sources of others are not read.
    """

    def __init__(self, known: Sequence[Source], types: Collection[str]) -> None:
        self.types = frozenset(types)
        self._sources = {each.collection: each for each in known if self.types.intersection(each.types)}
        self._imported: tuple[int, set[ObjectId]] = (0, set())

    @property
    def pipeline(self) -> list[dict[str, Any]]:
        """What the database does with its log, so that nothing else is sent."""
        known = self._sources.values()
        wanted = [{"ns.coll": each.collection, **each.condition} for each in known]
        fields = {f"{_UPDATED}.{name}": 1 for each in known for name in each.updated}
        fields |= {f"fullDocument.{name}": 1 for each in known for name in each.inserted}
        always = dict.fromkeys(("operationType", "ns.coll", "documentKey", "clusterTime", "wallTime"), 1)
        return [{"$match": {"$or": wanted}}, {"$project": {**always, **fields}}]

    async def read(self, changes: Sequence[Row], is_wanted: Wanted) -> list[Event]:
        """The events of a batch of changes. What is not wanted for its type and owner is not looked up."""
        told = [change for change in changes if not self._came_whole(change) and self._is_wanted(change, is_wanted)]
        rows = await self._rows_of(told)
        events = (self._event(change, rows.get(change["documentKey"]["_id"])) for change in told)
        return [event for event in events if event is not None]

    def _is_wanted(self, change: Row, is_wanted: Wanted) -> bool:
        type, _ = self._sources[change["ns"]["coll"]].name(change)
        return is_wanted(type, (change.get("fullDocument") or {}).get("owner_id"))

    async def _rows_of(self, changes: Iterable[Row]) -> dict[ObjectId, Row]:
        ids: dict[str, set[ObjectId]] = {}
        for change in changes:
            ids.setdefault(change["ns"]["coll"], set()).add(change["documentKey"]["_id"])
        found: dict[ObjectId, Row] = {}
        for collection, wanted in ids.items():
            rows = self._sources[collection].rows
            found |= await rows.of_ids(EVERYTHING, wanted, fields=rows.resource.members)
        return found

    def _event(self, change: Row, row: Row | None) -> Event | None:
        source, id = self._sources[change["ns"]["coll"]], change["documentKey"]["_id"]
        type, key = source.name(change)
        data: Mapping[str, Any]
        if type == "conversation.deleted":  # the row may be removed for good by now
            transition = _fields_of(change)["transition"]
            owner_id = transition["owner_id"]
            data = {"id": id, "owner_id": owner_id, "deleted_at": transition["at"]}
        elif row is None:
            return None  # purged meanwhile: all that is told of it is that it was deleted
        else:
            owner_id, data = row["owner_id"], source.render(row)
        conversation_id = id if source.rows.resource is CONVERSATIONS else data.get("conversation_id")
        return Event(
            type,  # type: ignore[arg-type]
            event_id(type, id, key),
            change["wallTime"],
            position_of(change["clusterTime"]),
            owner_id,
            conversation_id,
            data,
        )

    def _came_whole(self, change: Row) -> bool:
        """Whether it is a message that was stored together with its imported conversation, which is told as one."""
        if change["operationType"] != "insert":
            return False
        position, document = position_of(change["clusterTime"]), change.get("fullDocument") or {}
        if document.get("source_id"):
            if self._imported[0] != position:
                self._imported = (position, set())
            self._imported[1].add(change["documentKey"]["_id"])
        return self._imported[0] == position and document.get("conversation_id") in self._imported[1]


def position_of(time: Any) -> int:
    """A timestamp of the log as a number."""
    return int(time.time) << 32 | int(time.inc)


def event_id(type: str, *about: object) -> str:
    """The id of an event: the same for the same one."""
    digest = blake2b(":".join(map(str, (type, *about))).encode(), digest_size=16)
    return f"evt_{digest.hexdigest()}"


def body_of(type: EventType | NoticeType, at: datetime, data: Mapping[str, Any]) -> str:
    """What is sent, word for word."""
    return to_json({"type": type, "timestamp": at, "data": data}).decode()


def render_message(row: Row) -> Mapping[str, Any]:
    """A message; texts that are too long together are left out and named in `omitted`."""
    message = MESSAGES.render(row)
    texts = {name: message[name] for name in _LONG if message[name] is not None}
    if len(to_json(texts)) <= MAX_TEXT_BYTES:
        return {**message, "omitted": []}
    return {**message, **dict.fromkeys(texts), "omitted": list(texts)}


def _fields_of(change: Row) -> Row:
    fields: Row = (change.get("updateDescription") or {}).get("updatedFields") or {}
    return fields


def _name_of_conversation(change: Row) -> Name:
    if change["operationType"] == "insert":
        return "conversation.created", ""
    fields = _fields_of(change)
    if (transition := fields.get("transition")) is not None:
        event = transition["event"]
        return f"conversation.{event}", "" if event == "created" else str(transition["at"])
    return "conversation.updated", str(fields.get("version"))
