"""What no client library sends: heads without end, slow bodies, two lengths, chunks that lie, paths that climb."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from app.api import http_protocol
from app.kit import middleware
from tests.conftest import Person

pytestmark = pytest.mark.mongod

LISTED = "GET /api/users/me HTTP/1.1\r\nHost: a\r\n"


class Line:
    """A bare connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, text: str) -> None:
        self.writer.write(text.encode("latin-1"))
        await self.writer.drain()

    async def rest(self) -> str:
        """All that comes until the server closes."""
        async with asyncio.timeout(10):
            try:
                return (await self.reader.read()).decode("latin-1")
            except ConnectionResetError:
                return ""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def line(live_url: str) -> AsyncIterator[Line]:
    async with connected(live_url) as line:
        yield line


def statuses(text: str) -> list[int]:
    """Those of the answers that came over one connection."""
    return [int(each[:3]) for each in text.split("HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("beginning", ["", "GET /", LISTED, LISTED + "X-Slow: "])
async def test_a_head_that_does_not_end_ends_the_connection(
    beginning: str, live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.2)
    async with connected(live_url) as line:
        await line.send(beginning)

        assert await line.rest() == ""


async def test_a_second_head_has_to_end_too(line: Line, ana: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.5)
    await line.send(f"{LISTED}Authorization: Bearer {ana.key}\r\n\r\n")
    await line.send(LISTED)

    assert statuses(await line.rest()) == [200]


async def test_a_second_head_does_not_end_the_first_ones_answer(
    app: FastAPI, line: Line, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow() -> None:
        monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.02)
        await line.send(LISTED)
        await asyncio.sleep(10 * http_protocol.HEAD_SECONDS)

    app.add_api_route("/slow", slow)
    await line.send(f"GET /slow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ana.key}\r\n\r\n")

    assert statuses(await line.rest()) == [200]


async def test_a_head_without_bounds_ends_the_connection(line: Line) -> None:
    await line.send(LISTED)
    sent = 0
    with suppress(ConnectionError):
        while sent < 100 * http_protocol.MAX_HEAD_BYTES:
            await line.send(f"X-{sent}: {'a' * 10_000}\r\n")
            sent += 10_000

    assert sent < 100 * http_protocol.MAX_HEAD_BYTES


async def test_a_body_that_comes_too_slowly_is_refused(
    line: Line, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.2)
    head = f"POST /api/conversations HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ana.key}\r\n"
    await line.send(f'{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"title"')

    answer = await line.rest()

    assert statuses(answer) == [408]
    assert '"code":"request_timeout"' in answer


INNER = "GET /api/users HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = {
    "both lengths": f"Content-Length: {len(INNER) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{INNER}",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(INNER)}\r\n\r\n{INNER}",
    "a list of lengths": f"Content-Length: 0, {len(INNER)}\r\n\r\n{INNER}",
    "a signed length": f"Content-Length: +{len(INNER)}\r\n\r\n{INNER}",
    "a hexadecimal length": f"Content-Length: 0x10\r\n\r\n{INNER}",
    "two encodings": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{INNER}",
    "an odd encoding": f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{INNER}",
    "a space before the colon": f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{INNER}",
    "a folded header": f"Content-Length: 0\r\n X: {INNER}",
    "a chunk that lies": f"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{INNER}",
    "a chunk size with a sign": f"Transfer-Encoding: chunked\r\n\r\n-1\r\n{INNER}",
}


@pytest.mark.parametrize("attack", SMUGGLED)
async def test_no_request_hides_in_another(attack: str, line: Line, ana: Person) -> None:
    """Whatever is made of it, the server must not read a second request where a proxy would see a body."""
    head = f"POST /api/conversations HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ana.key}\r\n"
    await line.send(f"{head}Content-Type: application/json\r\n{SMUGGLED[attack]}")
    line.writer.write_eof()

    answered = statuses(await line.rest())

    assert answered == [400], attack


@pytest.mark.parametrize("climb", ["../", "..%2f", "%2e%2e/", "..%5c", "....//", "%00", "..;/"])
async def test_no_path_climbs_out_of_a_download(climb: str, live_url: str, ana: Person) -> None:
    for place in ("/api/exports/{}etc/passwd/file", "/docs/assets/{}{}etc/passwd", "/api/shared/{}etc/passwd/messages"):
        path = place.replace("{}", climb * 4)
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ana.key}\r\n"
        async with connected(live_url) as line:
            await line.send(f"{head}Connection: close\r\n\r\n")
            answer = await line.rest()
        assert statuses(answer)[0] in {400, 401, 404, 422}, path
        assert "root:" not in answer


@pytest.mark.parametrize(
    "name", ['"><script>alert(1)</script>', "a\r\nSet-Cookie: a=b", "../../etc/passwd", "中\u202efdp"]
)
async def test_stored_names_are_data_and_no_page(name: str, live_ana: httpx.AsyncClient) -> None:
    """Cross-site scripting and header injection through what is stored: titles, names of files, search."""
    created = await live_ana.post("/api/conversations", json={"title": name})
    path = created.headers["location"]
    await live_ana.post(f"{path}/messages", json={"role": "user", "content": name})
    link = (await live_ana.post(f"{path}/links", json={"name": name})).json()["path"]
    answers = [
        await live_ana.get(each) for each in (path, f"{path}/messages", f"{path}/links", link, f"{link}/messages")
    ]
    answers.append(await live_ana.get("/api/conversations/export", params={"format": "csv"}))
    answers.append(await live_ana.get("/api/conversations", params={name: name}))
    for answer in answers:
        assert answer.headers["content-type"].partition(";")[0] in {
            *("application/json", "application/problem+json", "text/csv"),
        }
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "set-cookie" not in answer.headers
