"""Every answer has a request id and, when it is an error, a problem document; logs never hold secrets."""

import io
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message

from app.kit.errors import Unauthenticated, Unavailable
from app.kit.middleware import BodyLimit, RequestContext
from app.kit.problems import SHOWN_FIELDS, speak_problems
from app.kit.routing import router
from app.kit.schemas import Input
from tests.conftest import Person

LIMIT = 200_000


class Thing(Input):
    name: str


routes = router("", "things")


@routes.post("/things")
async def create_thing(thing: Thing) -> dict[str, str]:
    return {"name": thing.name}


@routes.get("/boom")
async def boom() -> None:
    raise RuntimeError("a fault with a stack")


@routes.get("/left")
async def left() -> None:
    raise ClientDisconnect


@routes.get("/busy")
async def busy() -> None:
    raise Unavailable("later", retry_after=3)


@routes.get("/private")
async def private() -> None:
    raise Unauthenticated


@pytest.fixture
async def small(lines: io.StringIO) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    speak_problems(app)
    app.add_middleware(BodyLimit, max_bytes=LIMIT)
    app.add_middleware(RequestContext)
    app.include_router(routes)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 100_000


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    body: dict[str, object] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == body["request_id"]
    return body


@pytest.mark.parametrize("given", ["abc-1", "a.b:c_d", "x" * 100])
async def test_a_request_id_that_was_sent_is_kept(small: httpx.AsyncClient, given: str) -> None:
    assert (await small.get("/busy", headers={"X-Request-Id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 101, "a b", "a\tb", "<script>"])
async def test_a_request_id_that_cannot_be_used_is_replaced(small: httpx.AsyncClient, given: str) -> None:
    response = await small.get("/busy", headers={"X-Request-Id": given})

    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("PUT", "/things", 405, "method_not_allowed"),
        ("POST", "/things", 422, "invalid"),
        ("GET", "/busy?unknown=1", 422, "invalid"),
        ("GET", "/busy", 503, "unavailable"),
        ("GET", "/private", 401, "unauthenticated"),
        ("GET", "/boom", 500, "internal_error"),
    ],
)
async def test_every_error_is_a_problem_with_the_request_id(
    small: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    problem_of(await small.request(method, path), status, code)


async def test_errors_carry_their_headers(small: httpx.AsyncClient) -> None:
    assert (await small.put("/things")).headers["allow"] == "POST"
    assert (await small.get("/busy")).headers["retry-after"] == "3"
    assert "Bearer" in (await small.get("/private")).headers["www-authenticate"]


@pytest.mark.parametrize(
    ("content", "content_type", "field"),
    [
        (b'{"name":', "application/json", "body"),
        (b'{"name": NaN}', "application/json", "body"),
        (b'{"name": 1}', "application/json", "body.name"),
        (b'{"name": "a", "b": 1}', "application/json", "body.b"),
        (b"[" * 5000, "application/json", "body"),
        (b'{"name": "a"}', "text/plain", "header.Content-Type"),
        (b"name=a", "application/x-www-form-urlencoded", "header.Content-Type"),
        (b'{"name": "a"}', "", "header.Content-Type"),
    ],
)
async def test_a_body_that_cannot_be_used_names_its_place(
    small: httpx.AsyncClient, content: bytes, content_type: str, field: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    body = problem_of(await small.post("/things", content=content, headers=headers), 422, "invalid")

    assert body["fields"][0]["field"] == field  # type: ignore[index]


@pytest.mark.parametrize("suffix", ["", "; charset=utf-8"])
async def test_json_is_taken_in_and_out_of_a_thread(small: httpx.AsyncClient, suffix: str) -> None:
    for name in ("a", "a" * 150_000):
        response = await small.post(
            "/things", content=json.dumps({"name": name}), headers={"Content-Type": f"application/json{suffix}"}
        )
        assert response.json() == {"name": name}


async def test_a_refusal_does_not_cost_more_than_its_request(small: httpx.AsyncClient) -> None:
    response = await small.post("/things", json={f"k{number}": 1 for number in range(900)})

    body = problem_of(response, 422, "invalid")
    assert len(body["fields"]) == SHOWN_FIELDS  # type: ignore[arg-type]
    assert str(body["detail"]).endswith(f"and {901 - SHOWN_FIELDS} more")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_a_problem_announced_or_not(small: httpx.AsyncClient, announced: bool) -> None:
    content = b" " * 300_000 if announced else chunks(3)

    response = await small.post("/things", content=content, headers={"Content-Type": "application/json"})

    problem_of(response, 413, "payload_too_large")


async def test_a_body_of_exactly_the_limit_is_read(small: httpx.AsyncClient) -> None:
    content = json.dumps({"name": "a"}).encode().ljust(LIMIT)

    response = await small.post("/things", content=content, headers={"Content-Type": "application/json"})

    assert response.status_code == 200


async def test_an_unforeseen_fault_shows_its_id_and_no_stack_but_logs_it(
    small: httpx.AsyncClient, lines: io.StringIO
) -> None:
    response = await small.get("/boom")

    assert response.headers["x-request-id"] in response.json()["detail"]
    assert "stack" not in response.text
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    fault = next(line for line in logged if line["event"] == "unhandled_error")
    assert "a fault with a stack" in fault["exception"]
    assert {line["request_id"] for line in logged} == {response.headers["x-request-id"]}


async def test_a_client_that_left_is_not_a_fault(small: httpx.AsyncClient, lines: io.StringIO) -> None:
    with pytest.raises(AssertionError):  # the transport misses the answer that nobody would get
        await small.get("/left")

    assert "client_left" in lines.getvalue()
    assert "unhandled_error" not in lines.getvalue()


async def test_a_fault_after_the_answer_began_breaks_it_off(
    app: FastAPI, live_ana: httpx.AsyncClient, lines: io.StringIO
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("midway")

    app.add_api_route("/broken", lambda: StreamingResponse(broken()))
    with pytest.raises(httpx.RemoteProtocolError):
        await live_ana.get("/broken")

    assert "midway" in lines.getvalue()


async def test_a_fault_after_the_answer_began_reaches_the_server(lines: io.StringIO) -> None:
    async def begun(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        raise RuntimeError("midway")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(RuntimeError, match="midway"):
        await RequestContext(begun)({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_logs_hold_neither_keys_nor_passwords_nor_what_people_wrote(
    as_admin: httpx.AsyncClient, admin: Person, lines: io.StringIO
) -> None:
    user = {"email": "zoe@example.com", "name": "Zoe", "password": "pass-word-secret"}
    await as_admin.post("/api/users", json=user)
    await as_admin.post("/api/users", json=user)
    await as_admin.post("/api/users", json={**user, "password": 17, "name": "name-secret"})
    conversation = (await as_admin.post("/api/conversations", json={"title": "title-secret"})).json()
    path = f"/api/conversations/{conversation['id']}/messages"
    await as_admin.post(path, json={"role": "user", "content": "content-secret"})
    await as_admin.post(path, json={"role": "nobody", "content": "content-secret"})
    await as_admin.get("/api/messages", params={"q": "query-secret("})

    text = lines.getvalue()
    assert len(text.splitlines()) >= 7
    assert "request_id" in text
    for secret in (admin.key, "Bearer", "secret", "zoe@example.com"):
        assert secret not in text
