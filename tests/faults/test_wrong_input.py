"""The OpenAPI document as an attacker: whatever it generates, no endpoint fails, and every answer is as documented."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from tests.conftest import DATABASE
from tests.faults.document import EXCLUDED, OPERATIONS, TOO_LARGE, UNREAD
from tests.processes import ADMIN_KEY, ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

EXAMPLES = 12
CASES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS] + [
    (label, GenerationMode.NEGATIVE)
    for label, each in OPERATIONS.items()
    if each.body or each.query or each.path_parameters  # others take nothing that could be wrong
]


@pytest.fixture(scope="module")
async def server(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    often = {"login_attempts": 1_000_000, "login_attempts_per_address": 1_000_000}  # wrong passwords are a part of it
    async with ServerProcess(
        folder, mongo_uri=mongo_uri, database=f"{DATABASE}_input", log_level="warning", **often
    ) as server:
        yield server


@pytest.fixture(scope="module")
async def ids(server: ServerProcess) -> dict[str, str]:
    """An id that is there for each kind of path, so that requests get past the first look-up."""
    async with server.client() as client:
        user = (await client.post("/api/users", json={"email": "target@example.com", "name": "Target"})).json()
        key = (await client.post("/api/keys", json={"name": "target"})).json()
        conversation = (await client.post("/api/conversations", json={"title": "Target"})).json()
        turn = (await client.post(f"/api/conversations/{conversation['id']}/turns", json={"content": "Hello"})).json()
    return {
        "/api/users/{id}": user["id"],
        "/api/keys/{id}": key["id"],
        "/api/conversations/{id}": conversation["id"],
        "/api/messages/{id}": turn["user_message"]["id"],
        "/api/turns/{id}": turn["id"],
    }


@pytest.mark.parametrize(("label", "mode"), CASES, ids=lambda value: value if isinstance(value, str) else value.name)
async def test_no_input_makes_an_endpoint_fail(
    label: str, mode: GenerationMode, server: ServerProcess, ids: dict[str, str]
) -> None:
    operation = OPERATIONS[label]
    known = next((id for path, id in ids.items() if operation.path.startswith(path)), None)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attack(case: Any) -> None:
        if known and mode is GenerationMode.POSITIVE and operation.method != "delete":
            case.path_parameters["id"] = known
        response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=30)
        case.validate_response(response, excluded_checks=UNREAD if response.status_code in TOO_LARGE else EXCLUDED)

    await asyncio.to_thread(attack)


async def test_the_server_still_serves_and_logged_no_fault(server: ServerProcess) -> None:
    async with server.client() as client:
        assert (await client.get("/health/ready")).status_code == 200

    assert "unhandled_error" not in server.log
