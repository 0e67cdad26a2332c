"""What `verbatim serve` says when it starts, or cannot."""

import asyncio
import json
import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from app.cli.serve import _welcome
from app.config import Settings
from tests.processes import ADMIN_KEY, ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]


async def _run(command: str, **environment: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE, env=environment or None)
    output, _ = await process.communicate()
    return process.returncode, output


async def test_the_lines_that_are_shown_work_as_they_are(data: Path) -> None:
    async with ServerProcess(data, bootstrap_key=None) as server:
        commands = re.findall(r"^  (curl .*)$", server.welcome, re.MULTILINE)
        answers = [json.loads((await _run(command))[1]) for command in commands]
        key_file = data / "admin.key"

        assert [sorted({"role", "title", "items"} & answer.keys()) for answer in answers] == [
            ["role"],
            ["title"],
            ["items"],
        ]
        assert answers[0]["role"] == "admin"
        assert str(key_file) in server.welcome
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert key_file.read_text().strip() in server.log  # shown once
        assert f"{server.url}/docs" in server.welcome
        assert (await _run(f"curl -s -o /dev/null -w '%{{http_code}}' {server.url}/docs"))[1] == b"200"
        assert await server.terminate() == 0


async def test_a_key_of_the_environment_is_used_and_never_shown(tmp_path: Path, shared: dict[str, Any]) -> None:
    async with ServerProcess(tmp_path, **shared) as server:
        command = re.findall(r"^  (curl .*)$", server.welcome, re.MULTILINE)[0]
        _, answer = await _run(command, VERBATIM_BOOTSTRAP_KEY=ADMIN_KEY)

        assert json.loads(answer)["role"] == "admin"
        assert ADMIN_KEY not in server.welcome + server.log
        assert not (tmp_path / "admin.key").exists()


async def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, shared: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ServerProcess(tmp_path, "--port", str(port), **shared)
        said = await _refusal(server)

    assert said == (
        f"verbatim: cannot listen on 127.0.0.1:{port} (Address already in use); "
        "stop what uses it, or choose another with --port or VERBATIM_PORT.\n"
    )


async def test_an_address_of_another_machine_is_one_sentence(tmp_path: Path, shared: dict[str, Any]) -> None:
    said = await _refusal(ServerProcess(tmp_path, "--host", "192.0.2.1", **shared))

    assert said.startswith("verbatim: cannot listen on 192.0.2.1:0 (Cannot assign requested address); check ")
    assert said.count("\n") == 1


async def test_workers_that_cannot_start_say_why_once(tmp_path: Path) -> None:
    said = await _refusal(ServerProcess(tmp_path, "--workers", "2", mongo_uri="mongodb://127.0.0.1:bad/"))

    assert said.startswith("verbatim: VERBATIM_MONGO_URI cannot be used")
    assert said.count("\n") == 1


async def _refusal(server: ServerProcess) -> str:
    """What a server that cannot start writes to standard error."""
    with pytest.raises(AssertionError):
        await server.start()
    assert await server.ended() == 1
    said = server.log
    await server._end(has_failed=False)
    return said


async def test_a_server_on_every_address_shows_one_that_can_be_reached(tmp_path: Path, shared: dict[str, Any]) -> None:
    async with ServerProcess(tmp_path, "--host", "0.0.0.0", **shared) as server, server.client() as client:
        assert server.url.startswith("http://127.0.0.1:")
        assert (await client.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("::1", "http://[::1]:8123"),
        ("example.com", "http://example.com:8123"),
    ],
)
def test_every_host_has_a_url(tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, url: str) -> None:
    _welcome(Settings(_env_file=None, host=host, data=tmp_path), 8123)

    shown = capsys.readouterr().out
    assert f"Verbatim   {url}\n" in shown
    assert "verbatim key create" in shown  # there is no key file, so where it was cannot be shown
