"""The guide of the WebSocket says what it does."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import get_args

import httpx
import pytest

from app.api import socket_protocol, socket_rooms, socket_session
from app.api.socket_schemas import AnyMessage
from app.rooms import service
from tests.conftest import Person
from tests.rooms.sockets import address_of
from tests.turns.conftest import messages_of, new_conversation

GUIDE = (Path(__file__).parents[2] / "docs/websocket.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading: the cells of a row by its first one."""
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_request_and_each_of_its_members_is_in_the_table() -> None:
    described = {type: re.findall(r"`(\w+)`", cells[0]) for type, cells in rows("Requests").items()}
    known = {get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(AnyMessage)}

    assert {type: set(names) for type, names in described.items()} == {
        type: set(each.model_fields) - {"id", "type"} for type, each in known.items()
    }


def test_the_codes_and_limits_are_those_of_the_code() -> None:
    endings = (socket_session.SLOW, socket_session.RESTARTS, socket_session.CHANGED)
    codes = {str(code) for code in (*socket_session._CODES.values(), *(each.code for each in endings), 1009, 1011)}

    assert rows("Limits and ends").keys() == codes
    for number in (socket_rooms.MAX_SUBSCRIPTIONS, service.MAX_SOCKETS, int(socket_session.CHECK_SECONDS)):
        assert re.search(rf"\b{number}\b", GUIDE)
    assert socket_protocol.MAX_MESSAGE_BYTES == 1024**2
    assert socket_protocol.SERVER_OPTIONS["ws_max_size"] == 4 * 1024**2


@pytest.mark.mongod
async def test_the_python_example_runs(live_url: str, ana: Person, as_ana: httpx.AsyncClient, tmp_path: Path) -> None:
    conversation = await new_conversation(as_ana)
    program = GUIDE.split("```python\n")[1].split("```")[0]
    variables = {"KEY": ana.key, "SOCKET": address_of(live_url), "CONVERSATION": conversation.rpartition("/")[2]}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=tmp_path,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        printed, _ = await process.communicate()

    assert process.returncode == 0
    assert printed.decode() == (await messages_of(as_ana, conversation))[1]["content"] == "Word for word?"
