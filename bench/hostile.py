"""Clients that send patterns which no regular-expression engine likes, and what another client notices of them."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import psutil
from rich.table import Table

from app.database import Database
from bench.asking import Client, Reply
from bench.processes import cpu_seconds
from bench.questions import Question
from bench.server import Server
from bench.stored import Owner
from bench.streams import percentile
from bench.tables import ratio, table

PATTERNS = (r"(a+)+$", r"(\w+\s?)+$", r"(x+x+)+y", r".*.*.*=.*", r"[0-9]{6}", r"(a|aa)+$", r"(.*)\1{5}z", r"([a-z]+)*!")
_CLIENTS = 8
_ROUNDS = 100


@dataclass(frozen=True)
class _Heard:
    """What the ordinary client got, by the name of the request; what the hostile ones got; seconds of CPU."""

    ordinary: Mapping[str, Sequence[Reply]]
    hostile: Counter[str]
    server_cpu: float
    mongod_cpu: float


async def hostile(
    database: Database, server: Server, owners: Sequence[Owner], mongod: psutil.Process
) -> Sequence[Table]:
    """The busiest owners attack: nobody, eight of them, one with eight clients. The next one reads and appends."""
    attacks: dict[str, Sequence[Owner]] = {
        "none": [],
        f"{_CLIENTS} clients of {_CLIENTS} users": owners[:_CLIENTS],
        f"{_CLIENTS} clients of one user": [owners[0]] * _CLIENTS,
    }
    heard = {
        name: await _under_attack(database, server, owners[_CLIENTS], attackers, mongod)
        for name, attackers in attacks.items()
    }
    return [_ordinary(heard), _answered(heard)]


def _ordinary(heard: Mapping[str, _Heard]) -> Table:
    made = table(
        f"another user's requests while hostile patterns are searched for, {_ROUNDS} of each; milliseconds",
        *("attack", "request", "p50", "p95", "p50 of alone's", "p95 of alone's", "errors"),
        names=2,
    )
    alone = heard["none"].ordinary
    for attack, each in heard.items():
        for request, replies in each.ordinary.items():
            p50s, p95s = (
                [percentile([reply.milliseconds for reply in some], share) for some in (replies, alone[request])]
                for share in (0.5, 0.95)
            )
            errors = Counter(reply.outcome for reply in replies if not reply.is_ok)
            made.add_row(
                *(attack, request, f"{p50s[0]:.1f}", f"{p95s[0]:.1f}", ratio(*p50s), ratio(*p95s)),
                _counted(errors) or "0",
            )
    return made


def _answered(heard: Mapping[str, _Heard]) -> Table:
    made = table("what the hostile clients got", *("attack", "server's CPU s", "mongod's CPU s", "answers"))
    for attack, each in heard.items():
        made.add_row(attack, f"{each.server_cpu:.1f}", f"{each.mongod_cpu:.1f}", _counted(each.hostile))
    return made


def _counted(outcomes: Counter[str]) -> str:
    return ", ".join(f"{number} x {outcome}" for outcome, number in outcomes.most_common())


async def _under_attack(
    database: Database, server: Server, reader: Owner, attackers: Sequence[Owner], mongod: psutil.Process
) -> _Heard:
    outcomes: Counter[str] = Counter()
    is_over = asyncio.Event()
    before, database_before = server.process.cpu_seconds(), cpu_seconds(mongod)
    async with asyncio.TaskGroup() as group:
        for number, attacker in enumerate(attackers):
            group.create_task(_attack(server, attacker, number, outcomes, is_over))
        ordinary = await _use(database, server, reader)
        is_over.set()
    return _Heard(ordinary, outcomes, server.process.cpu_seconds() - before, cpu_seconds(mongod) - database_before)


async def _attack(server: Server, owner: Owner, number: int, outcomes: Counter[str], is_over: asyncio.Event) -> None:
    """One pattern after the other until it is over, each client beginning with another one."""
    async with Client(server.port, owner.key) as client:
        for turn in count(number):
            if is_over.is_set():
                return
            reply = await client.get(Question(PATTERNS[turn % len(PATTERNS)], "regex").path)
            outcomes[reply.outcome] += 1


async def _use(database: Database, server: Server, owner: Owner) -> Mapping[str, Sequence[Reply]]:
    """Ordinary requests of a user, one after the other."""
    message = await _message(database, owner)
    append = f"/api/conversations/{message['conversation_id']}/messages"
    replies: dict[str, list[Reply]] = {"list 20 conversations": [], "get a message": [], "append a message": []}
    async with Client(server.port, owner.key) as client:
        for _ in range(_ROUNDS):
            for name, reply in zip(
                replies,
                (
                    await client.get("/api/conversations?limit=20"),
                    await client.get(f"/api/messages/{message['_id']}"),
                    await client.post(append, {"role": "user", "content": "Could I have a tea instead, please?"}),
                ),
                strict=True,
            ):
                replies[name].append(reply)
    return replies


async def _message(database: Database, owner: Owner) -> dict[str, Any]:
    row = await database.client[database.name].messages.find_one({"owner_id": owner.id})
    assert row is not None
    return row
