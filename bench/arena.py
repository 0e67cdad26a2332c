"""What all measurements of turns share: the database, the upstream, the peers, and how each of them is asked."""

import asyncio
import json
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from bson import ObjectId
from rich.console import Console

from app.conversations.model import Conversation
from app.database import Database
from bench.peers import LITELLM_KEY, LITELLM_MODEL, FakeUpstream, LiteLLM
from bench.server import KEY, Server
from bench.streams import Target

MODEL = "up:fast"
_INSTRUCTIONS = "You are brief."
_QUESTION = "What is the answer to the question that I have not asked yet? " * 4


@dataclass(frozen=True)
class Arena:
    console: Console
    data: Path
    database: Database
    owner_id: ObjectId
    upstream: FakeUpstream
    litellm: LiteLLM | None

    def server(self, **settings: Any) -> Server:
        """A Verbatim with the upstream `up`, yet to be entered; several may share the database."""
        patient = {"first_token_timeout": 900, "total_timeout": 900}
        # A crowd is not to queue for the upstream: what its turns wait for here is Verbatim.
        upstream = {"base_url": self.upstream.base_url, **patient, "max_concurrency": 5000}
        return Server(self.data, **{"llm_providers": {"up": upstream}, **settings})

    async def conversations(self, count: int) -> list[str]:
        """The ids of new conversations: each is asked once, so that all prompts are alike."""
        start = datetime.now(UTC)
        rows = [
            {
                **Conversation(owner_id=self.owner_id, title=f"Bench {number}", system_prompt=_INSTRUCTIONS).to_row(),
                "created_at": start,
            }
            for number in range(count)
        ]
        await self.database.client[self.database.name].conversations.insert_many(rows)
        return [str(row["_id"]) for row in rows]

    async def verbatim(self, server: Server, count: int, *, stream: bool = True) -> Target:
        """The turns of `count` new conversations, one each."""
        ids = await self.conversations(count)
        body = {"content": _QUESTION, "model": MODEL, "stream": stream}
        return Target(
            "Verbatim",
            server.port,
            lambda number: post(f"/api/conversations/{ids[number]}/turns", KEY, body),
            delta=b"event: delta" if stream else b"",
            end=b"event: turn.completed" if stream else b"",
        )

    def direct(self, *, stream: bool = True) -> Target:
        return _openai("upstream itself", self.upstream.port, "sk-any", "fast", stream=stream)

    def proxy(self, *, stream: bool = True) -> Target | None:
        if self.litellm is None:
            return None
        return _openai("LiteLLM", self.litellm.port, LITELLM_KEY, LITELLM_MODEL, stream=stream)

    def mongod(self) -> psutil.Process:
        """The embedded database's own process."""
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "mongod" and str(self.data) in " ".join(process.info["cmdline"] or ()):
                return process
        raise RuntimeError("there is no mongod on the data folder")


def _openai(name: str, port: int, key: str, model: str, *, stream: bool) -> Target:
    messages = [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": _QUESTION}]
    request = post("/v1/chat/completions", key, {"model": model, "messages": messages, "stream": stream})
    return Target(
        name, port, lambda _: request, delta=b'"delta"' if stream else b"", end=b"data: [DONE]" if stream else b""
    )


def post(path: str, key: str, body: Any) -> bytes:
    """A request, byte by byte."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def get(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


@contextmanager
def many_files() -> Iterator[None]:
    """Let this process and those it starts open as many files as the system allows: a thousand clients need them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def settle(seconds: float = 0.5) -> None:
    """Let what a run has left behind (closed connections, garbage) be over before the next is measured."""
    await asyncio.sleep(seconds)


def targets(*every: Target | None) -> Sequence[Target]:
    return [each for each in every if each is not None]
