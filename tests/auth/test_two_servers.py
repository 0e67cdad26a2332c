"""Signing in with real servers: two processes on one database, as behind a load balancer."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.auth.memory import REMEMBERED_SECONDS
from tests.auth.signing_in import PASSWORD, basic, bearer, status_of
from tests.conftest import DATABASE
from tests.processes import ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]
SECRET = "the-half-of-the-keys-that-no-database-holds-0123456789"


async def sign_in(client: httpx.AsyncClient, **form: str) -> httpx.Response:
    return await client.post("/api/auth/token", data={"grant_type": "password", "username": "ana@example.com", **form})


async def test_what_one_server_grants_or_ends_counts_at_the_other(mongo_uri: str, tmp_path: Path) -> None:
    options = {"mongo_uri": mongo_uri, "database": f"{DATABASE}_two_servers", "token_secret": SECRET}
    async with ServerProcess(tmp_path / "a", **options) as a, ServerProcess(tmp_path / "b", **options) as b:
        async with a.client() as admin:
            new = {"email": "ana@example.com", "name": "Ana", "password": PASSWORD}
            assert (await admin.post("/api/users", json=new)).status_code == 201
        async with httpx.AsyncClient(base_url=a.url) as at_a, httpx.AsyncClient(base_url=b.url) as at_b:
            granted = (await sign_in(at_a, password=PASSWORD)).json()
            headers = bearer(granted["access_token"])
            assert await status_of(at_b, headers) == 200
            assert await status_of(at_b, basic("ana@example.com", PASSWORD)) == 200

            refreshed = {"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]}
            renewed = (await at_b.post("/api/auth/token", data=refreshed)).json()
            assert await status_of(at_a, bearer(renewed["access_token"])) == 200

            assert (await at_a.post("/api/auth/logout", headers=headers)).status_code == 204
            assert await status_of(at_a, headers) == 401
            async with asyncio.timeout(REMEMBERED_SECONDS + 10):
                while await status_of(at_b, headers) == 200:
                    pass  # each request takes its time; the other process does not say when it forgets

            for client, number in ((at_a, 1), (at_b, 2), (at_a, 3), (at_b, 4)):
                assert (await sign_in(client, password=f"wrong {number}")).status_code == 400
            logs = a.log + b.log
            for secret in (PASSWORD, granted["access_token"], granted["refresh_token"], renewed["refresh_token"]):
                assert secret not in logs
