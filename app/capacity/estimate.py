"""From how much people write to documents, bytes, processors, members and shards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.capacity.figures import FIGURES as F
from app.capacity.figures import Figure

DAY = 86_400.0
GIB = 1024.0**3
HOT_DAYS = 30
"""Rows that are younger are read again and again: they and their indexes should fit into MongoDB's cache."""
_BUSY = 0.6
"""Share of a processor or a disk that is planned with; the rest is for failovers, backups and bad days."""
_CACHE_SHARE = 0.5
"""Of a member's memory, which is what WiredTiger takes by default, nearly."""
_OPLOG_SHARE, _MIN_OPLOG, _MAX_OPLOG = 0.05, 1.0, 50.0
"""MongoDB's own defaults: of a member's disk, and GiB."""
_MIN_SERVERS = 2


@dataclass(frozen=True)
class Demand:
    """What is asked of the deployment. `messages_a_day`: of one user, questions and answers. `streams`: answers under
    way at the busiest moment; None: reckoned from `peak`, how many times busier that is than the mean."""

    users: int
    messages_a_day: float = 20
    characters: float = 400
    bytes_a_character: float = 1.5
    conversation_messages: float = 20
    retention_days: float = 365
    streams: int | None = None
    peak: float = 5
    reads_a_turn: float = 4
    replication: int = 3


@dataclass(frozen=True)
class Member:
    """One machine of MongoDB: GiB of memory and disk, and its processors."""

    memory: float = 32
    disk: float = 1000
    cores: int = 8


@dataclass(frozen=True)
class Stored:
    """One collection, or several, once the retention is reached: bytes of one copy, as BSON, on disk and of indexes."""

    name: str
    documents: float
    bson: float
    disk: float
    indexes: float


@dataclass(frozen=True)
class Need:
    """How many shards one resource asks for, and of what."""

    resource: str
    wanted: str
    shards: float


@dataclass(frozen=True)
class Estimate:
    """Everything that was reckoned; bytes are of one copy unless the name says otherwise."""

    stored: Sequence[Stored]
    total_bytes: float
    replicated_bytes: float
    turns_a_second: float
    streams: float
    oplog_bytes_a_day: float
    oplog_hours: float
    oplog_hours_at_peak: float
    api_cores: float
    api_servers: int
    mongod_cores: float
    hot_bytes: float
    needs: Sequence[Need]
    shards: int
    members: int


def estimate(demand: Demand, member: Member) -> Estimate:
    """What the demand comes to on such members."""
    turns_a_day = demand.users * demand.messages_a_day / 2
    stored = _stored(demand, turns_a_day)
    total = sum(each.disk + each.indexes for each in stored)
    seconds = _answer_seconds(demand)
    busiest = turns_a_day / DAY * demand.peak
    streams = busiest * seconds if demand.streams is None else float(demand.streams)
    api, mongod = _cores(streams / seconds, demand)
    oplog_a_day = _oplog(demand, turns_a_day)
    oplog = min(max(member.disk * _OPLOG_SHARE, _MIN_OPLOG), _MAX_OPLOG) * GIB
    hot = total * min(1.0, HOT_DAYS / demand.retention_days)
    needs = (
        Need("disk", f"{total / GIB:,.0f} GiB", total / (member.disk * GIB * _BUSY)),
        Need("memory", f"{hot / GIB:,.1f} GiB of {HOT_DAYS} days", hot / (member.memory * GIB * _CACHE_SHARE)),
        Need("processors", f"{mongod:,.1f} busy cores", mongod / (member.cores * _BUSY)),
    )
    shards = max(1, *(math.ceil(each.shards) for each in needs))
    servers = max(_MIN_SERVERS, math.ceil(api / _BUSY))
    hours = oplog * shards / oplog_a_day * 24
    return Estimate(
        stored=stored,
        total_bytes=total,
        replicated_bytes=total * demand.replication,
        turns_a_second=busiest,
        streams=streams,
        oplog_bytes_a_day=oplog_a_day,
        oplog_hours=hours,
        oplog_hours_at_peak=hours / demand.peak,
        api_cores=api,
        api_servers=servers,
        mongod_cores=mongod,
        hot_bytes=hot,
        needs=needs,
        shards=shards,
        members=shards * demand.replication,
    )


def _stored(demand: Demand, turns_a_day: float) -> list[Stored]:
    turns = turns_a_day * demand.retention_days
    messages = turns * 2
    conversations = messages / demand.conversation_messages
    text = demand.characters * demand.bytes_a_character
    events = turns_a_day * _events(demand)  # they are kept for a day
    piece = text / _events(demand)
    return [
        _rows("messages", messages, (F.message_bytes, F.message_disk, F.message_index_bytes), text),
        _rows("turns", turns, (F.turn_bytes, F.turn_disk, F.turn_index_bytes)),
        _rows("conversations", conversations, (F.conversation_bytes, F.conversation_disk, F.conversation_index_bytes)),
        _rows("users", demand.users, (F.user_bytes, F.user_disk, F.user_index_bytes)),
        _rows("turn_events", events, (F.event_bytes, F.event_disk, F.event_index_bytes), piece),
        Stored(
            "search index",
            messages * F.search_documents.value,
            messages * text * F.search_bytes.value,
            messages * text * F.search_disk.value,
            0.0,  # theirs are in the figure
        ),
    ]


def _rows(name: str, documents: float, each: tuple[Figure, Figure, Figure], text: float = 0.0) -> Stored:
    """`each`: bytes of a document as BSON, on disk and in indexes, without its text; `text`: bytes of that."""
    bson, disk, index = (figure.value for figure in each)
    return Stored(
        name, documents, documents * (bson + text), documents * (disk + text * F.text_disk.value), documents * index
    )


def _answer_seconds(demand: Demand) -> float:
    return F.first_token_seconds.value + demand.characters / F.characters_a_second.value


def _events(demand: Demand) -> float:
    """Of one turn: the first piece and the end, and in between as many as its answer lasts."""
    return 2 + demand.characters / F.characters_a_second.value * F.events_a_second.value


def _cores(turns_a_second: float, demand: Demand) -> tuple[float, float]:
    """Busy processors of the servers, and of MongoDB where all writes go to one primary."""
    length = max(1.0, demand.characters / F.measured_characters.value)
    reads = turns_a_second * demand.reads_a_turn
    api = turns_a_second * F.turn_api_ms.value * length + reads * F.read_api_ms.value
    mongod = turns_a_second * F.turn_mongod_ms.value * length + reads * F.read_mongod_ms.value
    indexing = turns_a_second * 2 * F.indexing_ms.value
    return (api + indexing) / 1000, mongod / 1000


def _oplog(demand: Demand, turns_a_day: float) -> float:
    """Bytes a day: a turn's own, its question once and its answer twice (piece by piece, and whole), and the index of
    messages, which is written anew each time that segments are merged."""
    text = demand.characters * demand.bytes_a_character
    turn = F.turn_oplog_bytes.value + _events(demand) * F.event_oplog_bytes.value + 3 * text
    messages = turns_a_day * 2
    merges = 1 + math.log(max(messages * demand.retention_days / F.segment_messages.value, 1), F.merged_at_once.value)
    return turns_a_day * turn + messages * (F.mark_oplog.value + text * F.search_oplog.value * merges)
