"""A client that reads its answers, and the proof that they are right."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from bson import ObjectId
from pymongo.asynchronous.collection import AsyncCollection

from bench.arena import get, post
from bench.questions import PAGE, Question
from bench.streams import Connection, connect

PAGES = 5


@dataclass(frozen=True)
class Reply:
    status: int
    content: bytes
    milliseconds: float

    @cached_property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.content)
        return body

    @property
    def is_ok(self) -> bool:
        return self.status < 300

    @property
    def is_partial(self) -> bool:
        """Whether a search gave up for now: the page may lack what lies behind its last row."""
        return bool(self.body.get("partial"))

    @property
    def ids(self) -> list[ObjectId]:
        return [ObjectId(item["id"]) for item in self.body["items"]]

    @property
    def outcome(self) -> str:
        """In a few words, to be counted."""
        if not self.is_ok:
            return f"{self.status} {self.body['code']}"
        return f"{self.status} partial" if self.is_partial else str(self.status)


class _Body:
    content = b""

    def hear(self, block: bytes, at: int) -> None:  # noqa: ARG002 a listener's signature
        self.content += block


class Client:
    """One kept-alive connection with a key, one request at a time; an asynchronous context manager."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key

    async def __aenter__(self) -> "Client":
        self._connection: Connection = await connect(self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.transport.close()

    async def get(self, path: str) -> Reply:
        return await self._send(get(path, self._key))

    async def post(self, path: str, body: Any) -> Reply:
        return await self._send(post(path, self._key, body))

    async def _send(self, request: bytes) -> Reply:
        body, started = _Body(), time.perf_counter()
        status = await self._connection.send(request, body)
        return Reply(status, body.content, (time.perf_counter() - started) * 1000)


async def walk(client: Client, question: Question, pages: int = PAGES) -> Sequence[Reply]:
    """The first pages of the answer; the last one may be a refusal."""
    replies = [await client.get(question.path)]
    while len(replies) < pages and replies[-1].is_ok and (cursor := replies[-1].body["next"]):
        replies.append(await client.get(f"{question.path}&after={quote(cursor)}"))
    return replies


async def check(
    collection: AsyncCollection[dict[str, Any]], scope: Mapping[str, Any], question: Question, replies: Sequence[Reply]
) -> None:
    """Compare pages with a scan of the collection by the database alone; raises RuntimeError when they differ.

    Where the server gave up, what it found until then has to be how the scan's rows begin.
    """
    found = [id for reply in replies if reply.is_ok for id in reply.ids]
    condition = {**scope, "deleted_at": None, **question.condition}
    cursor = collection.find(
        condition,
        {"_id": 1},
        sort=[("created_at", -1), ("_id", -1)],
        limit=PAGES * PAGE,
        hint=[("$natural", 1)],  # no index, so that none can be wrong in both
    )
    expected = [row["_id"] for row in await cursor.to_list()]
    if any(not reply.is_ok or reply.is_partial for reply in replies):
        del expected[len(found) :]
    if found != expected:
        raise RuntimeError(f"{question} answered {len(found)} messages other than the scan's {len(expected)}")
