"""Reads the body of one answer: bytes in as they arrive, pieces of the answer out. No input or output happens here.

Two readers of one shape, chosen by content type: the event stream that was asked for, and the single JSON completion
of a server that does not stream. Both raise `ProviderError` (`upstream_invalid`, `upstream_cut`, or what an `error`
object in the body says).
"""

from collections.abc import Iterator
from typing import Protocol

from app.config import MEBIBYTE
from app.llm.failures import not_a_completion
from app.llm.provider import ProviderError
from app.llm.sse import EventParser, EventTooLargeError
from app.llm.wire import Piece, read_piece

MAX_JSON_BYTES = 2 * MEBIBYTE

_DONE = "[DONE]"


class Reader(Protocol):
    """`is_complete`: nothing of the answer is missing, at most its usage; `is_done`: nothing more can follow."""

    is_complete: bool
    is_done: bool

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """What `chunk` completes. Exhaust the iterator before the next call."""
        ...

    def end(self) -> Iterator[Piece]:
        """What was still open when the body ended; raises when the answer is not complete."""
        ...


class EventStreamReader:
    """`text/event-stream`, and every content type but JSON's: some servers label their streams wrongly."""

    def __init__(self, provider: str, secret: str | None) -> None:
        self.is_complete = False
        self.is_done = False
        self._provider = provider
        self._secret = secret
        self._parser = EventParser()

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        if self.is_done:
            return
        try:
            for payload in self._parser.feed(chunk):
                if piece := self._read(payload):
                    yield piece
        except EventTooLargeError as error:
            raise ProviderError("upstream_invalid", f"{self._provider} sent an event that is too large.") from error

    def end(self) -> Iterator[Piece]:
        if not self.is_done:
            yield from self._last_event()
        if self.is_complete:
            return
        if self._parser.is_foreign:
            raise not_a_completion(self._provider)
        raise ProviderError("upstream_cut", f"{self._provider} ended the stream before the answer was complete.")

    def _last_event(self) -> Iterator[Piece]:
        """An event without the empty line behind it: the last words of a sloppy server, or half of a cut event."""
        try:
            for payload in self._parser.end():
                if piece := self._read(payload):
                    yield piece
        except ProviderError as error:
            if error.code != "upstream_invalid":
                raise

    def _read(self, payload: str) -> Piece | None:
        if self.is_done or not payload:
            return None
        if payload.strip() == _DONE:
            self.is_complete = self.is_done = True
            return None
        piece = read_piece(payload, self._provider, secret=self._secret)
        self.is_complete = self.is_complete or piece.reason is not None
        return piece


class JSONReader:
    """`application/json`: one completion, at most `MAX_JSON_BYTES` long."""

    def __init__(self, provider: str, secret: str | None) -> None:
        self.is_complete = False
        self.is_done = False
        self._provider = provider
        self._secret = secret
        self._body = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        if len(self._body) + len(chunk) > MAX_JSON_BYTES:
            raise ProviderError("upstream_invalid", f"{self._provider} sent an answer that is too large.")
        self._body += chunk
        return iter(())

    def end(self) -> Iterator[Piece]:
        piece = read_piece(self._body.decode("utf-8", "replace"), self._provider, secret=self._secret)
        if not piece.is_token and piece.reason is None:
            raise not_a_completion(self._provider)
        yield piece


def reader_for(content_type: str, provider: str, secret: str | None) -> Reader:
    """`content_type`: the header's value; `secret`: what must never appear in an error's message."""
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    return (JSONReader if is_json else EventStreamReader)(provider, secret)
