"""A closed loop of clients that stream answers: how much later than sent each token comes, and what it costs."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol, cast

import httptools

PATIENCE = 180.0
"""Seconds after which an answer counts as an error."""

_STAMP = re.compile(rb"@(\d+),(\d+)@")
_TOKEN = b" token"


class Listener(Protocol):
    """Is told each event of a stream, or the whole of another body, and when it was here (monotonic nanoseconds)."""

    def hear(self, block: bytes, at: int) -> None: ...


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time. `size`: the bytes of the last answer on the wire."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[int] | None = None
        self.size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("closed"))

    def send(self, request: bytes, listener: Listener) -> "asyncio.Future[int]":
        """Answers the status when the whole answer was heard."""
        self._answered = asyncio.get_running_loop().create_future()
        self._listener = listener
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self.size = 0
        self.transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        at = time.monotonic_ns()
        *blocks, self._rest = (self._rest + body).split(b"\n\n")
        for block in blocks:
            self._listener.hear(block, at)

    def on_message_complete(self) -> None:
        if self._rest:
            self._listener.hear(self._rest, time.monotonic_ns())
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(self._parser.get_status_code())


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


@dataclass(frozen=True)
class Target:
    """Something that streams answers. In its events `delta` marks those with text, and `end` the last."""

    name: str
    port: int
    request: Callable[[int], bytes]
    delta: bytes
    end: bytes


@dataclass
class Answer:
    """One answer as it was heard; instants in monotonic nanoseconds."""

    target: Target
    sent: int = field(default_factory=time.monotonic_ns)
    first: int = 0
    ended: int = 0
    size: int = 0
    tokens: int = 0
    deltas: int = 0
    has_end: bool = False
    stamps: list[tuple[int, int]] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)

    def hear(self, block: bytes, at: int) -> None:
        if self.target.delta in block:
            stamps = [(int(received), int(sent)) for received, sent in _STAMP.findall(block)]
            self.first = self.first or (at if stamps else 0)
            self.deltas += 1
            self.tokens += len(stamps) + block.count(_TOKEN)
            self.stamps += stamps
            self.lags += [at - sent for _, sent in stamps]
        if self.target.end in block:
            self.has_end = True

    @property
    def added_first(self) -> float:
        """Milliseconds to the first token, less those that the upstream itself took."""
        received, sent = self.stamps[0]
        return (self.first - self.sent - (sent - received)) / 1e6

    @property
    def added_total(self) -> float:
        """Milliseconds to the end of the answer, less those that the upstream took to its last token."""
        received, sent = self.stamps[-1]
        return (self.ended - self.sent - (sent - received)) / 1e6


@dataclass(frozen=True)
class Run:
    """All whole answers of a run, and why others are missing."""

    answers: Sequence[Answer]
    errors: Counter[str]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.answers) / self.seconds

    @property
    def bytes_per_token(self) -> float:
        return sum(each.size for each in self.answers) / max(1, sum(each.tokens for each in self.answers))

    def added_first(self, share: float) -> float:
        return percentile([each.added_first for each in self.answers], share)

    def added_total(self, share: float) -> float:
        return percentile([each.added_total for each in self.answers], share)

    def lag(self, share: float) -> float:
        """Milliseconds from the upstream's sending a token to its being here."""
        return percentile([lag / 1e6 for each in self.answers for lag in each.lags], share)


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank: the smallest value that at least this share of them does not exceed; not a number when there are
    none."""
    if not values:
        return float("nan")
    return sorted(values)[max(0, ceil(len(values) * share) - 1)]


async def run_streams(target: Target, *, count: int, clients: int, tokens: int, spread: float = 0.0) -> Run:
    """Ask `request(0)` to `request(count - 1)` from `clients` connections; an answer without all tokens is an error.

    The clients begin one after the other within `spread` seconds: answers that take equally long would else begin and
    end together for ever.
    """
    numbers = iter(range(count))
    answers: list[Answer] = []
    errors: Counter[str] = Counter()
    connections = [await connect(target.port) for _ in range(clients)]

    async def client(connection: Connection, pause: float) -> None:
        await asyncio.sleep(pause)
        for number in numbers:
            if connection.transport.is_closing():
                connection = await connect(target.port)
            request, answer = target.request(number), Answer(target)
            if fault := await _ask(connection, answer, request, tokens):
                errors[fault] += 1
            else:
                answers.append(answer)
        connection.transport.close()

    started = time.perf_counter()
    await asyncio.gather(*(client(each, spread * index / clients) for index, each in enumerate(connections)))
    return Run(answers, errors, time.perf_counter() - started)


async def _ask(connection: Connection, answer: Answer, request: bytes, tokens: int) -> str | None:
    """Fills the answer; says what is wrong with it."""
    try:
        async with asyncio.timeout(PATIENCE):
            status = await connection.send(request, answer)
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        connection.transport.close()
        return type(error).__name__
    answer.ended = time.monotonic_ns()
    answer.size = connection.size
    if status >= 300:
        return str(status)
    if not answer.has_end:
        return "no end"
    return None if answer.tokens == tokens else f"{answer.tokens} of {tokens} tokens"
