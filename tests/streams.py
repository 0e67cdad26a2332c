"""Reading server-sent events as the specification says: lines end with a line feed, and with nothing else."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Received:
    """One event; `id` is 0 when it has none."""

    id: int
    event: str
    data: Any


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, path: str, body: Any, **headers: str) -> AsyncIterator[httpx.Response]:
    """The open response to a POST that asks for a stream; its headers are here, its body is still to come."""
    async with client.stream("POST", path, json={**body, "stream": True}, headers=headers) as response:
        yield response


async def events_of(response: httpx.Response) -> AsyncIterator[Received]:
    """The events as they arrive; comments are left out."""
    buffer = b""
    async for chunk in response.aiter_raw():
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            if not block.startswith(b":"):
                yield _parse(block)


def _parse(block: bytes) -> Received:
    fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
    return Received(int(fields.get(b"id", 0)), fields[b"event"].decode(), json.loads(fields[b"data"]))


async def stream(client: httpx.AsyncClient, path: str, body: Any, **headers: str) -> list[Received]:
    """All events of a streamed turn, which must be numbered from 1 without gaps."""
    async with streaming(client, path, body, **headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [event async for event in events_of(response)]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    return events


def joined(events: Iterable[Received]) -> str:
    """The text that the deltas make."""
    return "".join(event.data["text"] for event in events if event.event == "delta")
