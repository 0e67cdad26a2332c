"""What docs/scale-out.md and `verbatim capacity` reckon with: how much is stored for messages and turns, and how much
of a processor each kind of request takes, of the server and of MongoDB. On real transcripts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote

from bson import ObjectId, Timestamp
from pymongo.asynchronous.collection import AsyncCollection
from rich.table import Table

from app.conversations.model import Conversation
from app.database import Database
from app.turns.model import Turn
from app.users.model import User
from bench.arena import Arena, post
from bench.corpus import Corpus, CorpusMissing
from bench.load import Request, run_load
from bench.peers import Pace
from bench.processes import cpu_seconds
from bench.search import another_database, services_of, transcripts
from bench.server import Server
from bench.sizes import reusable
from bench.stored import Owner, Row, Stored, message_row, message_template, store
from bench.streams import Target, run_streams
from bench.tables import table
from bench.writing import catch_up

_MESSAGES = 30_000
_PACE = Pace(first=0.2, tokens=100, delay=0.02)
"""A model that is neither slow nor fast: an answer of 500 characters in two seconds."""
_CLIENTS = 16
_TURNS = 320
_BATCH = 1000
_USERS = _CONVERSATIONS = 10_000


@dataclass
class _Answers:
    """Completes half the messages as answers, and keeps the turns that they belong to."""

    turns: list[Row] = field(default_factory=list)
    _question: Row = field(default_factory=dict)

    def complete(self, row: Row) -> None:
        if row["role"] == "user":
            self._question = row
            return
        usage = {"prompt": 900, "completion": len(row["content"]) // 4, "total": 900 + len(row["content"]) // 4}
        served = {"model": "up:fast", "provider": "up", "usage": usage, "cost": 0.00153}
        turn = self._turn(row, served)
        self.turns.append(turn)
        row |= {**served, "turn_id": turn["_id"], "finish_reason": "stop", "latency_ms": 2183}

    def _turn(self, answer: Row, served: Row) -> Row:
        at = answer["created_at"]
        made = Turn(
            conversation_id=answer["conversation_id"],
            owner_id=answer["owner_id"],
            user_message_id=self._question["_id"],
            assistant_message_id=answer["_id"],
            answer_seq=answer["seq"],
            state="completed",
            worker=f"bench-{ObjectId()}",
            model="up:fast",
            served_model="fast",
            provider="up",
            cost=served["cost"],
            first_token_ms=204,
            total_ms=2183,
            started_at=at,
            first_token_at=at,
            finished_at=at + timedelta(seconds=2),
            last_event=26,
        ).to_row()
        return {**made, "usage": served["usage"], "created_at": at, "updated_at": at}


async def scale(arena: Arena) -> Sequence[Table]:
    """Bytes of messages and turns, and CPU of each kind of request, for docs/scale-out.md."""
    try:
        corpus = Corpus.read(transcripts())
    except CorpusMissing as error:
        arena.console.print(str(error))
        return []
    async with another_database(arena, "scale") as database:
        stored = await _stored(arena, database, corpus)
        sizes = await _sizes(database, stored)
        async with arena.server(database="scale", search_builder=False, log_level="error") as server:
            operations = await _operations(arena, database, server, stored.owners[0])
            turns = await _turns(arena, database, server, stored.owners[0])
    return [sizes, operations, turns]


async def _stored(arena: Arena, database: Database, corpus: Corpus) -> Stored:
    arena.console.print(f"Scale: storing {_MESSAGES:,} messages ...", style="dim")
    answers = _Answers()
    stored = await store(database, corpus, _MESSAGES, complete=answers.complete)
    turns = iter(answers.turns)
    while batch := list(islice(turns, _BATCH)):
        await database.client[database.name].turns.insert_many(batch, ordered=False)
    collections = database.client[database.name]
    titled = [
        Conversation(
            owner_id=stored.owners[n % len(stored.owners)].id, title=stored.texts[n][:40], model="up:fast", last_seq=20
        )
        for n in range(_CONVERSATIONS)
    ]
    await collections.conversations.insert_many([each.to_row() for each in titled], ordered=False)
    await _longer(collections["longer"], stored)
    named = [User(email=f"jean.{n}.martin@people.example", name=f"Jean Martin {n}").to_row() for n in range(_USERS)]
    await collections.users.insert_many(named, ordered=False)
    arena.console.print("Scale: indexing what they say ...", style="dim")
    since = await _cluster_time(database)
    async with services_of(database) as services:
        await catch_up(services)
    marks = await _oplog(database, since, {"ns": f"{database.name}.messages"})
    rest = await _oplog(database, since) - marks
    arena.console.print(
        f"Scale: indexing added to the oplog {marks / len(stored.texts):,.0f} bytes for each message,"
        f" and {rest / stored.text_bytes:.2f} for each byte of text."
    )
    return stored


async def _longer(collection: AsyncCollection[Row], stored: Stored) -> None:
    """Messages that each say what ten others do: how well texts are compressed."""
    template = message_template()
    talk = {"_id": ObjectId(), "owner_id": ObjectId()}
    texts = [" ".join(stored.texts[start : start + 10]) for start in range(0, len(stored.texts), 10)]
    at = datetime.now(UTC)
    await collection.insert_many([message_row(template, talk, seq, text, at) for seq, text in enumerate(texts, 1)])


async def _sizes(database: Database, stored: Stored) -> Table:
    collections = database.client[database.name]
    await database.client.admin.command("fsync")  # until a checkpoint the sizes of files are older
    count = len(stored.texts)
    characters, bytes_ = sum(map(len, stored.texts)) / count, stored.text_bytes / count
    made = table(
        f"bytes; {count:,} messages of {characters:.0f} characters, {bytes_:.0f} bytes",
        *("collection", "documents", "BSON a document", "on disk", "indexes on disk", "indexes"),
    )
    search = [name for name in await collections.list_collection_names() if name.startswith("search_")]
    for name in ("messages", "turns", "conversations", "users", "longer", *sorted(search)):
        stats = await collections.command("collStats", name)
        count = stats["count"] or 1
        made.add_row(
            name,
            f"{stats['count']:,}",
            *(f"{size / count:,.0f}" for size in (stats["size"], _in_use(stats), stats["totalIndexSize"])),
            str(stats["nindexes"]),
        )
    return made


def _in_use(stats: dict[str, Any]) -> int:
    """Bytes on disk without room that is written to again."""
    return int(stats["storageSize"]) - reusable(stats)


async def _operations(arena: Arena, database: Database, server: Server, owner: Owner) -> Table:
    rows = database.client[database.name].conversations.find({"owner_id": owner.id}, {"_id": 1}, limit=200)
    ids: list[ObjectId] = [row["_id"] for row in await rows.to_list()]

    def pick(number: int) -> ObjectId:
        return ids[number * 7919 % len(ids)]

    body = json.dumps({"role": "user", "content": "Can I get a mocha, with oat milk, for Jean? " * 4}).encode()
    cases: Mapping[str, tuple[Callable[[int], Request], int]] = {
        "get a conversation": (lambda n: Request("GET", f"/api/conversations/{pick(n)}"), 1500),
        "list 20 own conversations": (lambda _: Request("GET", "/api/conversations?limit=20"), 800),
        "a transcript's 50 newest": (
            lambda n: Request("GET", f"/api/conversations/{pick(n)}/messages?limit=50&sort=-seq"),
            800,
        ),
        "list 20 own messages": (lambda _: Request("GET", "/api/messages?limit=20&sort=-created_at"), 800),
        "search one's messages for a word": (lambda n: Request("GET", f"/api/messages?q={quote(_WORDS[n % 8])}"), 200),
        "append a message": (lambda n: Request("POST", f"/api/conversations/{pick(n)}/messages", body), 600),
    }
    made = table(
        f"milliseconds of CPU a request, {_CLIENTS} clients",
        *("", "server", "mongod", "a second for each core of a server"),
    )
    for name, (make, count) in cases.items():
        await run_load(server.port, owner.key, make, count=50, clients=_CLIENTS)  # warm
        before = server.process.cpu_seconds(), cpu_seconds(arena.mongod())
        await run_load(server.port, owner.key, make, count=count, clients=_CLIENTS)
        after = server.process.cpu_seconds(), cpu_seconds(arena.mongod())
        own, other = ((each - earlier) / count * 1000 for earlier, each in zip(before, after, strict=True))
        made.add_row(name, f"{own:.2f}", f"{other:.2f}", f"{1000 / own:,.0f}")
    return made


_WORDS = ("mocha", "order", "latte", "minutes", "电影", "喜欢", "推荐", "音乐")


async def _turns(arena: Arena, database: Database, server: Server, owner: Owner) -> Table:
    """Streamed turns: their CPU, their events, and what they add to the oplog."""
    arena.upstream.set_pace(_PACE)
    collections = database.client[database.name]
    rows = await collections.conversations.find({"owner_id": owner.id}, {"_id": 1}, limit=_TURNS).to_list()
    body = {"content": "Can I get a mocha, with oat milk, for Jean? " * 4, "model": "up:fast", "stream": True}
    target = Target(
        "Verbatim",
        server.port,
        lambda number: post(f"/api/conversations/{rows[number % len(rows)]['_id']}/turns", owner.key, body),
        delta=b"event: delta",
        end=b"event: turn.completed",
    )
    await run_streams(target, count=_CLIENTS, clients=_CLIENTS, tokens=_PACE.tokens)  # warm
    since = await _cluster_time(database)
    before = server.process.cpu_seconds(), cpu_seconds(arena.mongod())
    run = await run_streams(target, count=_TURNS, clients=_CLIENTS, tokens=_PACE.tokens, spread=_PACE.seconds)
    own, other = (
        (each - earlier) / _TURNS * 1000
        for earlier, each in zip(before, (server.process.cpu_seconds(), cpu_seconds(arena.mongod())), strict=True)
    )
    written = await _oplog(database, since)
    await database.client.admin.command("fsync")
    events = await collections.command("collStats", "turn_events")
    errors = sum(run.errors.values())
    made = table(
        f"a streamed turn of {_PACE.tokens} tokens in {_PACE.seconds:.1f} s, {_CLIENTS} at once; {errors} errors",
        *("server ms", "mongod ms", "streams at once a core", "oplog bytes"),
        *("events", "bytes of one", "on disk", "indexes"),
    )
    made.add_row(
        *(f"{own:.1f}", f"{other:.1f}", f"{_PACE.seconds * 1000 / own:,.0f}", f"{written / _TURNS:,.0f}"),
        f"{events['count'] / (_TURNS + _CLIENTS):.1f}",
        *(f"{size / events['count']:,.0f}" for size in (events["size"], _in_use(events), events["totalIndexSize"])),
    )
    return made


async def _cluster_time(database: Database) -> Timestamp:
    hello: dict[str, Any] = await database.client.admin.command("hello")
    at: Timestamp = hello["lastWrite"]["opTime"]["ts"]
    return at


async def _oplog(database: Database, since: Timestamp, condition: Mapping[str, Any] | None = None) -> int:
    """Bytes of the log of writes since then."""
    steps: list[dict[str, Any]] = [
        {"$match": {"ts": {"$gt": since}, **(condition or {})}},
        {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}},
    ]
    found = await (await database.client["local"]["oplog.rs"].aggregate(steps)).to_list()
    return int(found[0]["bytes"]) if found else 0
