"""The guide of webhooks says what they do."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import httpx
import pytest

from app.webhooks import dispatcher, inbound, retries, service
from app.webhooks.model import EventType, NoticeType
from tests.api.calls import new_conversation, say
from tests.webhooks.conftest import log_of, subscribe, until

GUIDE = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()


def test_every_event_is_in_the_table() -> None:
    lines = [line for line in GUIDE.split("| event |")[1].split("\n\n")[0].splitlines() if line.startswith("| `")]
    described = {name for line in lines for name in re.findall(r"`([\w.]+)`", line.split("|")[1])}

    assert described == {*get_args(EventType), *get_args(NoticeType)}


def test_the_limits_are_those_of_the_code() -> None:
    for sentence in (
        f"up to {dispatcher.LANE_WIDTH} at a time",
        f"up to {service.MAX_PER_OWNER} webhooks, with {service.MAX_SECRETS} good secrets",
        f"more than {dispatcher.MAX_WAITING:,} deliveries",
        f"has up to {inbound.MAX_PER_CONVERSATION}.",
        f"after {retries.Times().first.seconds} seconds",
        f"up to every {retries.LONGEST_WAIT.seconds // 3600}\n",
        f"for {retries.Times().give_up.total_seconds() / 3600:.0f} hours",
    ):
        assert sentence in GUIDE


class Program:
    """The receiver of the guide, as a process."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.process: asyncio.subprocess.Process | None = None
        self._port = port

    async def start(self, secret: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", GUIDE.split("```python\n")[1].split("```")[0]),
            env={**os.environ, "SECRET": secret, "PORT": str(self._port)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return (await self.process.stdout.readline()).decode().strip()


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Program(port)
    yield program
    if program.process is not None:
        program.process.kill()
        await program.process.communicate()


@pytest.mark.mongod
@pytest.mark.usefixtures("soon")
async def test_the_receiver_takes_what_is_genuine_and_nothing_else(as_ana: httpx.AsyncClient, program: Program) -> None:
    """It is started when the first attempts have failed, so it shows that they are made again, too."""
    webhook = await subscribe(as_ana, program.url)
    message = await say(as_ana, await new_conversation(as_ana), "Hello")
    await until(lambda: log_of(as_ana, webhook), lambda rows: bool(rows and rows[0]["error"]))

    await program.start(webhook["secret"])

    assert await program.line() == f"message.created {message['id']}"
    log = await until(lambda: log_of(as_ana, webhook), lambda rows: rows[0]["state"] == "succeeded")
    assert log[0]["response_status"] == 204
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.post(program.url, json={})).status_code == 401
