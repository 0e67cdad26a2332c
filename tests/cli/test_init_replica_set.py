"""`verbatim init-replica-set`: what compose runs to make a replica set, here with the same commands as processes."""

import asyncio
import base64
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo import MongoClient

from app.mongod import find_mongod
from app.mongod.local_set import answers, until
from app.mongod.member import Member, MemberOptions
from tests.processes import ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]


@dataclass
class Deployment:
    """Members with a key file that nobody has made a set of yet, and a folder of secrets."""

    members: list[Member]
    secrets: Path

    @property
    def hosts(self) -> str:
        return ",".join(member.host for member in self.members)

    @property
    def uri(self) -> str:
        return f"mongodb://{self.hosts}/?replicaSet=rs0&authSource=admin"

    def keep(self, name: str, value: str) -> None:
        (self.secrets / name).write_text(value + "\n")

    async def init(self) -> tuple[int, str, str]:
        """The command of compose: exit status, output, errors."""
        command = (
            *(sys.executable, "-m", "app.cli", "init-replica-set", self.hosts),
            "--address",
            self.members[0].host,
        )
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "VERBATIM_SECRETS": str(self.secrets)}, stdout=-1, stderr=-1
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(base64.b64encode(secrets.token_bytes(756)).decode())
    folder = tmp_path / "secrets"
    folder.mkdir()
    mongod = await asyncio.to_thread(find_mongod, None)
    async with AsyncExitStack() as stack:
        members = []
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [probe.getsockname()[1] for probe in probes]
        for probe in probes:
            probe.close()
        for port in ports:
            member = Member(mongod, tmp_path / f"member-{port}", port, MemberOptions("rs0", key_file=key))
            stack.push_async_callback(member.forget)
            stack.push_async_callback(member.kill)
            await member.start()
            members.append(member)
        for member in members:
            await until(lambda each=member: answers(each), 60)  # type: ignore[misc]
        made = Deployment(members, folder)
        made.keep("verbatim_mongo_admin_password", "admin-secret")
        made.keep("verbatim_mongo_password", "first-secret")
        yield made


def _config(deployment: Deployment) -> dict[str, object]:
    with MongoClient[dict[str, object]](
        f"mongodb://{deployment.hosts}/?replicaSet=rs0", username="admin", password="admin-secret"
    ) as client:
        return dict(client.admin.command("replSetGetConfig")["config"])


async def test_compose_makes_a_replica_set_that_the_api_runs_on(deployment: Deployment, tmp_path: Path) -> None:
    status, output, errors = await deployment.init()
    assert (status, errors) == (0, "")
    assert deployment.hosts in output
    config = await asyncio.to_thread(_config, deployment)
    assert [member["priority"] for member in config["members"]] == [1, 1, 1]  # type: ignore[attr-defined]

    deployment.keep("verbatim_mongo_password", "second-secret")
    assert (await deployment.init())[0] == 0  # done again, it sets the new password and nothing else
    again = await asyncio.to_thread(_config, deployment)
    assert again["members"] == config["members"]

    settings = {"mongo_uri": deployment.uri, "mongo_user": "verbatim", "secrets": str(deployment.secrets)}
    async with ServerProcess(tmp_path / "api", **settings) as server:
        async with server.client() as client:
            assert (await client.post("/api/conversations", json={"title": "First"})).status_code == 201
        assert await server.terminate() == 0

    deployment.keep("verbatim_mongo_admin_password", "another-secret")
    status, _, errors = await deployment.init()
    assert status == 1
    assert "not the password of its admin" in errors


async def test_without_a_password_it_says_which_setting_is_missing(tmp_path: Path) -> None:
    missing = Deployment([], tmp_path)
    missing.members = [Member(Path("mongod"), tmp_path, 1, MemberOptions("rs0"))]
    status, _, errors = await missing.init()

    assert status == 1
    assert "VERBATIM_MONGO_ADMIN_PASSWORD is not set" in errors
