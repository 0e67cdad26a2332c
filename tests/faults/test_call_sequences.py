"""The OpenAPI document as an attacker who uses what it got: sequences of requests along its links, as an admin.

Each begins with something that is right, so that there is an id to go on with; what is done with it is generated.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import Bundle, rule
from hypothesis.strategies import sampled_from
from schemathesis import GenerationMode
from schemathesis.generation.stateful.state_machine import StepInput

from tests.conftest import DATABASE
from tests.faults.document import EXCLUDED, OPERATIONS, SCHEMA, TOO_LARGE, UNREAD
from tests.processes import ADMIN_KEY, ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(300)]

SEEDS, EXAMPLES, STEPS = 12, 6, 10
RULES = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
IGNORED_AUTH = schemathesis.checks.CHECKS.get_one("ignored_auth")  # which test_wrong_input looks for, in each route
BEGINNINGS = (
    "POST /api/conversations",
    "POST /api/users",
    "POST /api/keys",
    "POST /api/exports",
    "POST /api/export-schedules",
    "POST /api/imports",
    "POST /api/webhooks",
    "POST /api/hooks",
    "POST /api/holds",
    "POST /api/retention",
)
EVERYWHERE = [each for each in OPERATIONS.values() if each.method == "get" and not each.path_parameters]
RIGHT: Mapping[str, Any] = {
    "POST /api/conversations": {"title": "Begun"},
    "POST /api/keys": {"name": "begun", "scopes": ["conversations:read"]},
    "POST /api/exports": {"resource": "conversations"},
    "POST /api/export-schedules": {"name": "Begun", "export": {"resource": "turns"}},
    "POST /api/imports": b'{"role": "user", "content": "Begun"}\n',
    "POST /api/webhooks": {"url": "https://listener.example/", "events": ["message.created"], "active": False},
    "POST /api/retention": {"name": "Begun", "days": 3650, "tags": ["nobody-has-this"]},
    "POST /api/conversations/{id}/messages": {"role": "user", "content": "Hello"},
    "POST /api/conversations/{id}/turns": {"content": "Hello"},
    "POST /api/conversations/{id}/regenerate": {},
    "POST /api/conversations/{id}/fork": {"seq": 0},
    "POST /api/conversations/{id}/links": {},
    "POST /api/turns/{id}/retry": {},
}
"""Bodies that nothing is wrong with: every other time in the place of generated ones, most of which are refused."""


@pytest.fixture(scope="module")
async def server(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    async with ServerProcess(
        folder, mongo_uri=mongo_uri, database=f"{DATABASE}_sequences", log_level="warning"
    ) as server:
        yield server


@pytest.fixture
async def right(server: ServerProcess) -> Mapping[str, Any]:
    """Right bodies, also of what names something that is there."""
    async with server.client() as client:
        user = (await client.post("/api/users", json={"email": "there@example.com", "name": "There"})).json()["id"]
        conversation = (await client.post("/api/conversations", json={"title": "There"})).json()["id"]
    return {
        **RIGHT,
        "POST /api/hooks": {"conversation_id": conversation, "name": "begun"},
        "POST /api/holds": {"resource": "users", "target_id": user, "reason": "Begun"},
    }


def machine(server: ServerProcess, right: Mapping[str, Any], reached: list[tuple[str, int]], faults: list[str]) -> Any:
    """Schemathesis's own, which begins with what is right instead of with what is random."""
    base = SCHEMA.as_state_machine()
    numbers: Iterator[int] = count()

    class Sequences(base):  # type: ignore[misc, valid-type]
        @rule(target=Bundle("catch_all"), label=sampled_from(BEGINNINGS))
        def begin(self, label: str) -> Any:
            email = f"begun-{next(numbers)}@example.com"
            body = {"email": email, "name": "Begun"} if label == "POST /api/users" else right[label]
            media_type = "application/octet-stream" if isinstance(body, bytes) else "application/json"
            case = OPERATIONS[label].Case(body=body, media_type=media_type)
            first = StepInput.initial(case)
            self.recorder.record_case(case=case)
            self.control.record_step(first, self.recorder)
            return self._step(first)

        @rule(case=sampled_from(EVERYWHERE).flatmap(lambda operation: operation.as_strategy()))
        def look_around(self, case: Any) -> None:
            """Ask, in between, what needs no id: lists, searches, exports and figures of what is there by now."""
            self.recorder.record_case(case=case)
            self._step(StepInput.initial(case))

        def before_call(self, case: Any) -> None:
            is_generated = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
            if is_generated and case.operation.label in right and crc32(repr(case.body).encode()) % 2:
                case.body, case.media_type = right[case.operation.label], "application/json"

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": server.url, "headers": {"Authorization": f"Bearer {ADMIN_KEY}"}, "timeout": 30}

        def validate_response(self, response: Any, case: Any, *args: Any, **kwargs: Any) -> None:
            reached.append((case.operation.label, response.status_code))
            excluded = [IGNORED_AUTH, *(UNREAD if response.status_code in TOO_LARGE else EXCLUDED)]
            try:
                case.validate_response(
                    response, excluded_checks=excluded, transport_kwargs=kwargs, recorder=self.recorder
                )
            except BaseExceptionGroup as group:
                faults.append("\n".join(map(str, group.exceptions)))
                raise

    for name in base.root_rules:
        setattr(Sequences, name, None)
    return Sequences


async def test_no_sequence_of_requests_makes_an_endpoint_fail(
    server: ServerProcess, right: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[tuple[str, int]] = []
    faults: list[str] = []
    sequences = machine(server, right, reached, faults)
    for seed in range(SEEDS):
        monkeypatch.setattr("hypothesis.core.global_force_seed", seed)
        with suppress(FlakyStrategyDefinition):  # a server that remembers does not answer the same thing twice
            await asyncio.to_thread(sequences.run, settings=RULES)

    assert faults == []
    done = {label for label, status in reached if status < 400}
    assert len(done) > 20, "most of it has to get somewhere"
    assert "unhandled_error" not in server.log
