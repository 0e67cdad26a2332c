"""The clients: writers of transcripts, askers, readers, and one who exports; all on two servers, none in step.

Writers wait for an answer before they write again, so all of them may hang at the same time. One more writes at a rate,
answered or not, to one of several transcripts after the other: it tells for how long nothing can be written.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from chaos.conversing import Asker
from chaos.door import Door
from chaos.history import Append, Exported, History, Seen
from tests.faults.followers import Ledger

TRANSCRIPTS, WRITERS_EACH, ASKERS, READERS = 2, 2, 3, 1
RATE, RATED = 2, 8
"""Messages a second of the one who does not wait, and to how many transcripts."""
ARCHIVED = 500
_FILE_SECONDS = 90.0
_PAGE = 50
_COLUMNS = ("id", "conversation_id", "seq", "content")

Json = dict[str, Any]


class Load:
    """Two writers share each transcript, so that the order of what they write is the servers' doing."""

    def __init__(self, door: Door, history: History, seed: int) -> None:
        self.history = history
        self.ledger = Ledger()
        self.transcripts: list[str] = []
        """Conversations that are only appended to: the archive, those with two writers each, and those that are
        written to at a rate."""
        self._door = door
        self._seed = seed
        self._stop = asyncio.Event()
        self._askers = [
            Asker(f"asker {number}", door, history, self.ledger, self._rng(f"asker {number}"))
            for number in range(ASKERS)
        ]

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everybody is at work inside the block; at its end each finishes what it has begun."""
        await self._open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_at_a_rate(self.transcripts[-RATED:]))
            for number, path in enumerate(self.transcripts[1 : 1 + TRANSCRIPTS] * WRITERS_EACH):
                tasks.create_task(self._write(f"writer {number}", path))
            for asker in self._askers:
                tasks.create_task(asker.converse(self._stop))
            for number in range(READERS):
                tasks.create_task(self._read(self._rng(f"reader {number}")))
            tasks.create_task(self._export(self._rng("exporter")))
            yield
            self._stop.set()

    async def _open(self) -> None:
        """Make all conversations; raises RuntimeError when that fails, because nothing has been done to anybody yet."""
        rng = self._rng("opening")
        for number in range(1 + TRANSCRIPTS + RATED):
            self.transcripts.append(await self._new(rng, f"transcript {number}"))
        for asker in self._askers:
            asker.conversation = await self._new(rng, asker.name)
        appends = [Append(self.transcripts[0], f"archived {number}", time.monotonic()) for number in range(ARCHIVED)]
        messages = [{"role": "user", "content": append.content} for append in appends]
        path = f"{self.transcripts[0]}/messages/bulk"
        response = await self._door.request("open", rng, "POST", path, key="archive", json={"messages": messages})
        if response is None:
            raise RuntimeError(f"the archive was not taken: {self.history.requests[-1].failure}")
        for append, message in zip(appends, response.json()["items"], strict=True):
            self._confirm(append, message)

    async def _new(self, rng: random.Random, title: str) -> str:
        response = await self._door.request("open", rng, "POST", "/api/conversations", key=title, json={"title": title})
        if response is None:
            raise RuntimeError(f"no conversation was made: {self.history.requests[-1].failure}")
        return str(response.headers["location"])

    def _confirm(self, append: Append, message: Json) -> None:
        append.seq, append.id, append.ended = message["seq"], message["id"], time.monotonic()
        self.history.appends.append(append)

    async def _write(self, name: str, path: str) -> None:
        rng, number = self._rng(name), 0
        while not self._stop.is_set():
            number += 1
            await self._append(rng, path, f"{name}: {number}")
            await asyncio.sleep(rng.uniform(0.1, 0.3))

    async def _write_at_a_rate(self, paths: Sequence[str]) -> None:
        rng, number = self._rng("rate"), 0
        async with asyncio.TaskGroup() as tasks:
            while not self._stop.is_set():
                number += 1
                tasks.create_task(self._append(rng, paths[number % len(paths)], f"at a rate: {number}"))
                await asyncio.sleep(1 / RATE)

    async def _append(self, rng: random.Random, path: str, content: str) -> None:
        append = Append(path, content, time.monotonic())
        body = {"role": "user", "content": content}
        response = await self._door.request("append", rng, "POST", f"{path}/messages", key=content, json=body)
        if response is None:
            self.history.appends.append(append)
        else:
            self._confirm(append, response.json())

    async def _read(self, rng: random.Random) -> None:
        while not self._stop.is_set():
            path, started = rng.choice(self.transcripts), time.monotonic()
            parameters = {"sort": "-seq", "limit": _PAGE}
            response = await self._door.request("read", rng, "GET", f"{path}/messages", params=parameters)
            if response is not None:
                self.history.read(path, started, _seen(response.json()["items"]))
            await asyncio.sleep(rng.uniform(0.1, 0.4))

    async def _export(self, rng: random.Random) -> None:
        """A file as it is made, and a file that is made by a job, in turns."""
        number = 0
        while not self._stop.is_set():
            number += 1
            paths = [self.transcripts[0], rng.choice(self.transcripts[1:])]
            await (self._download(rng, paths) if number % 2 else self._order(rng, paths, f"export {number}"))
            await asyncio.sleep(rng.uniform(2, 4))

    async def _download(self, rng: random.Random, paths: Sequence[str]) -> None:
        started = time.monotonic()
        parameters = {"format": "jsonl", "columns": ",".join(_COLUMNS), **_filters(paths)}
        response = await self._door.request(
            "export", rng, "GET", "/api/messages/export", params=parameters, deadline=_FILE_SECONDS
        )
        if response is not None:
            self._keep("streamed", paths, started, response.content)

    async def _order(self, rng: random.Random, paths: Sequence[str], key: str) -> None:
        started = time.monotonic()
        wanted = {"resource": "messages", "format": "jsonl", "columns": _COLUMNS, "filters": _filters(paths)}
        response = await self._door.request("export", rng, "POST", "/api/exports", key=key, json=wanted)
        while response is not None and (job := response.json())["state"] in {"queued", "running"}:
            path = f"/api/exports/{job['id']}"
            response = await self._door.request("export", rng, "GET", path, params={"wait": 5})
        if response is None:
            return
        file = await self._door.request("export", rng, "GET", f"/api/exports/{job['id']}/file")
        if file is not None:
            is_intact = hashlib.sha256(file.content).hexdigest() == job["sha256"]
            self._keep("job", paths, started, file.content, claimed=job["rows"], is_intact=is_intact)
            await self._door.request("export", rng, "DELETE", f"/api/exports/{job['id']}")

    def _keep(self, how: str, paths: Sequence[str], started: float, content: bytes, **facts: Any) -> None:
        rows = _seen(json.loads(line) for line in content.splitlines())
        self.history.exports.append(Exported(how, paths, started, time.monotonic(), rows, **facts))


def _filters(paths: Sequence[str]) -> dict[str, str]:
    return {"conversation_id__in": ",".join(path.rpartition("/")[2] for path in paths), "sort": "created_at"}


def _seen(rows: Any) -> list[Seen]:
    return [Seen(f"/api/conversations/{row['conversation_id']}", row["seq"], row["id"], row["content"]) for row in rows]
