"""`verbatim init-replica-set`: what compose runs to make a replica set, here with the same commands as processes."""

import asyncio
import base64
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError
from typer.testing import CliRunner

from app.cli import _app
from app.mongod import find_mongod
from app.mongod.certificates import TlsFiles, make_certificates
from app.mongod.local_set import answers, until
from app.mongod.member import Member, MemberOptions
from tests.processes import ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]


@dataclass
class Deployment:
    """Members with a key file that nobody has made a set of yet, and a folder of secrets."""

    members: list[Member]
    secrets: Path
    tls: TlsFiles | None = None

    @property
    def hosts(self) -> str:
        return ",".join(member.host for member in self.members)

    @property
    def uri(self) -> str:
        tls = "" if self.tls is None else f"&tls=true&tlsCAFile={self.tls.authority}"
        return f"mongodb://{self.hosts}/?replicaSet=rs0&authSource=admin{tls}"

    def keep(self, name: str, value: str) -> None:
        (self.secrets / name).write_text(value + "\n")

    async def init(self) -> tuple[int, str, str]:
        """The command of compose: exit status, output, errors."""
        command = (
            *(sys.executable, "-m", "app.cli", "init-replica-set", self.hosts),
            "--address",
            self.members[0].host,
            *(() if self.tls is None else ("--tls-ca", str(self.tls.authority))),
        )
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "VERBATIM_SECRETS": str(self.secrets)}, stdout=-1, stderr=-1
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()


@asynccontextmanager
async def deployed(folder: Path, members: int, *, tls: TlsFiles | None = None) -> AsyncIterator[Deployment]:
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_text(base64.b64encode(secrets.token_bytes(756)).decode())
    (folder / "secrets").mkdir()
    mongod = await asyncio.to_thread(find_mongod, None)
    async with AsyncExitStack() as stack:
        made = Deployment([], folder / "secrets", tls)
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(members)]
        ports = [probe.getsockname()[1] for probe in probes]
        for probe in probes:
            probe.close()
        for port in ports:
            member = Member(mongod, folder / f"member-{port}", port, MemberOptions("rs0", key_file=key, tls=tls))
            stack.push_async_callback(member.forget)
            stack.push_async_callback(member.kill)
            await member.start()
            made.members.append(member)
        for member in made.members:
            await until(lambda each=member: answers(each), 60)  # type: ignore[misc]
        made.keep("verbatim_mongo_admin_password", "admin-secret")
        made.keep("verbatim_mongo_password", "first-secret")
        yield made


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path, 3) as made:
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


async def test_with_tls_nobody_speaks_to_a_member_in_the_clear(tmp_path: Path) -> None:
    made = await asyncio.to_thread(_make_certificates, tmp_path / "tls")
    async with deployed(tmp_path, 2, tls=made) as deployment:
        assert (await deployment.init())[0] == 0
        settings = {"mongo_uri": deployment.uri, "mongo_user": "verbatim", "secrets": str(deployment.secrets)}
        async with ServerProcess(tmp_path / "api", **settings) as server:
            async with server.client() as client:
                assert (await client.post("/api/conversations", json={"title": "First"})).status_code == 201
            assert await server.terminate() == 0

        stranger = make_certificates(tmp_path / "another", ["127.0.0.1"])
        for options in ({}, {"tls": True, "tlsCAFile": str(stranger.authority)}):
            with pytest.raises(ServerSelectionTimeoutError):
                await asyncio.to_thread(_ping, deployment.hosts, options)


def _make_certificates(folder: Path) -> TlsFiles:
    """By the command, as Compose does."""
    command = (sys.executable, "-m", "app.cli", "make-certificates", str(folder), "127.0.0.1")
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return TlsFiles(*(Path(line) for line in done.stdout.splitlines()))


def _ping(hosts: str, options: dict[str, Any]) -> None:
    with MongoClient[dict[str, object]](f"mongodb://{hosts}", serverSelectionTimeoutMS=1000, **options) as client:
        client.admin.command("ping")


def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    secret = {f"VERBATIM_MONGO_{name}": "secret" for name in ("ADMIN_PASSWORD", "PASSWORD")}
    refused = CliRunner().invoke(_app, ["init-replica-set", "mongo1", "--tls-ca", str(tmp_path / "ca")], env=secret)

    assert refused.exit_code == 1
    assert f"--tls-ca: there is no file {tmp_path}/ca." in refused.stderr


async def test_without_a_password_it_says_which_setting_is_missing(tmp_path: Path) -> None:
    missing = Deployment([], tmp_path)
    missing.members = [Member(Path("mongod"), tmp_path, 1, MemberOptions("rs0"))]
    status, _, errors = await missing.init()

    assert status == 1
    assert "VERBATIM_MONGO_ADMIN_PASSWORD is not set" in errors
