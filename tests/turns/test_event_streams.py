"""Server-sent events: kept alive, ended when the server stops, closed when the client leaves."""

import asyncio
from typing import Any

from starlette.types import Message

from app.kit.streaming import Drain, ServerSentEvent, event_stream
from tests.sources import QueuedEvents


def delta(number: int, text: str = "x") -> ServerSentEvent:
    return ServerSentEvent(number, "delta", {"text": text})


class Client:
    """The other side of an ASGI application: reads one body part at a time, and may leave."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            await self.parts.put(message["body"])


def serve(source: QueuedEvents, drain: Drain, client: Client, **options: Any) -> "asyncio.Task[None]":
    response = event_stream(source, drain, **options)
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    return asyncio.create_task(response(scope, client.receive, client.send))


async def test_an_event_has_its_number_name_and_json() -> None:
    assert delta(7, "中\n").encode() == 'id: 7\nevent: delta\ndata: {"text":"中\\n"}\n\n'.encode()


async def test_the_stream_ends_with_its_events() -> None:
    source, client = QueuedEvents(delta(1), delta(2), None), Client()
    serving = serve(source, Drain(), client)

    assert [await client.parts.get() for _ in range(2)] == [delta(1).encode(), delta(2).encode()]
    await serving
    assert source.was_complete is True


async def test_silence_is_filled_with_comments_and_loses_no_event() -> None:
    source, client = QueuedEvents(), Client()
    serving = serve(source, Drain(), client, keep_alive=0.01)

    for _ in range(3):
        assert await client.parts.get() == b": keep-alive\n\n"
    source.queue.put_nowait(delta(1))
    source.queue.put_nowait(None)
    parts = []
    while not serving.done() or not client.parts.empty():
        part = asyncio.ensure_future(client.parts.get())
        await asyncio.wait({part, serving}, return_when=asyncio.FIRST_COMPLETED)
        parts += [part.result()] if part.done() else []
        part.cancel()

    assert [part for part in parts if not part.startswith(b":")] == [delta(1).encode()]


async def test_a_silent_stream_is_told_to_reconnect_when_the_server_stops() -> None:
    source, client, drain = QueuedEvents(), Client(), Drain()
    serving = serve(source, drain, client)
    drain.start()

    assert await client.parts.get() == b"event: reconnect\nretry: 1000\ndata: {}\n\n"
    await serving
    assert source.closed.is_set()


async def test_a_slow_reader_of_many_events_does_not_keep_the_server_from_stopping() -> None:
    source, client, drain = QueuedEvents(*(delta(number) for number in range(1, 1001))), Client(), Drain()
    serving = serve(source, drain, client)
    assert await client.parts.get() == delta(1).encode()
    drain.start()

    rest = [await client.parts.get()]
    while not rest[-1].startswith(b"event: reconnect") and len(rest) < 10:
        rest.append(await client.parts.get())

    assert rest[-1].startswith(b"event: reconnect")
    await serving
    assert source.closed.is_set()


async def test_a_client_that_leaves_closes_the_source_whether_it_waits_or_not() -> None:
    for events in ((), (delta(1), delta(2), delta(3))):  # waiting for an event; waiting for the client to read
        source, client = QueuedEvents(*events), Client()
        serving = serve(source, Drain(), client)
        if events:
            await client.parts.get()
        await asyncio.sleep(0.01)
        client.left.set()

        await serving
        assert source.was_complete is False


async def test_what_follows_a_drain_happens_once() -> None:
    drain, calls = Drain(), []
    drain.then(lambda: calls.append("stopped"))

    drain.start()
    drain.start()

    assert calls == ["stopped"]
    assert drain.has_started
