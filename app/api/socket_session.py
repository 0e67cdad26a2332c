"""One open WebSocket: reads requests one after the other, answers each, and ends with a reason."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pymongo.errors import PyMongoError
from starlette.types import Message
from starlette.websockets import WebSocket

from app.api.audit_trail import note_refusal_in_socket
from app.api.rate_limits import admit
from app.api.socket_outbox import Gone, Outbox
from app.api.socket_protocol import MAX_MESSAGE_BYTES
from app.api.socket_requests import Requests
from app.api.socket_schemas import AnyMessage, AuthMessage, Malformed, parse, target_of
from app.auth.credentials import Bearer, Presented
from app.auth.principal import Principal
from app.kit import tracing
from app.kit.errors import (
    Conflict,
    Forbidden,
    Invalid,
    PayloadTooLarge,
    TooManyLogins,
    Unauthenticated,
    Unavailable,
    VerbatimError,
)
from app.kit.logs import bind_ids, logger, request_id
from app.kit.middleware import address_of
from app.kit.problems import as_verbatim_error, problem_body
from app.kit.routing import IN_LOOP_BYTES
from app.kit.streaming import Drain
from app.services import Services

CHECK_SECONDS = 30.0
"""How often the key of a silent socket is checked."""
_READS = frozenset({"auth", "subscribe", "unsubscribe", "follow", "unfollow", "ping"})
_CODES: Mapping[int, int] = {401: 4401, 503: 1013}
"""Codes that a socket is closed with after an error that leaves nothing to do, by its status; 1008 for others."""


@dataclass(frozen=True)
class Ending:
    """Why a socket ends. `error` is told before; `reconnects`: the client is to come again; `is_gone`: it left."""

    code: int
    reason: str = ""
    error: VerbatimError | None = None
    reconnects: bool = False
    is_gone: bool = False


SLOW = Ending(1008, "Messages were not read for too long.")
RESTARTS = Ending(1012, "The server stops; connect again.", reconnects=True)
CHANGED = Ending(1012, "What you may do has changed; connect again.", reconnects=True)
GONE = Ending(1006, is_gone=True)


class Session:
    def __init__(self, websocket: WebSocket, services: Services, drain: Drain) -> None:
        self.outbox = Outbox(websocket, lambda: self.end(SLOW))
        self.ending: Ending | None = None
        self._websocket = websocket
        self._services = services
        self._drain = drain
        self._credential: Presented | None = None
        self._waiting: asyncio.Timeout | None = None
        self._is_closed = False

    def end(self, ending: Ending) -> None:
        """Read no further; the first reason counts."""
        self.ending = self.ending or ending
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def run(self, credential: Presented | None) -> None:
        """Serve the accepted socket until it ends, and close it."""
        self._credential = credential
        with self._drain.calling(lambda: self.end(RESTARTS)):
            if self._drain.has_started:
                self.end(RESTARTS)
            with self._endings():
                principal = await (self._introduced() if credential is None else self._authenticate(credential))
            if self.ending is None:
                bind_ids(principal_id=str(principal.user_id))
                with self._endings(), self._services.rooms.admitting(principal.user_id):
                    await self._serve(principal)
            await self._close()

    async def _serve(self, principal: Principal) -> None:
        requests = Requests(self._services, self.outbox, principal)
        try:
            with self._endings():
                await self._answer_all(requests, principal)
        finally:
            with anyio.CancelScope(shield=True):
                has_left = self.ending is not None and not self.ending.reconnects
                # At the same time: who is stuck takes long to be told, and must not look present meanwhile.
                await asyncio.gather(self._close(), requests.aclose(has_left=has_left))

    @contextmanager
    def _endings(self) -> Iterator[None]:
        """What goes wrong inside ends the socket."""
        try:
            yield
        except Gone:
            self.end(GONE)
        except VerbatimError as error:
            self.end(Ending(_CODES.get(error.status, 1008), error.detail[:100], error))
        except Exception:  # noqa: BLE001 there is no answer that could carry it
            logger.exception("unhandled_error", path=self._websocket.url.path)
            self.end(Ending(1011, f"The fault is logged under request id {request_id()}."))

    async def _close(self) -> None:
        """Tell why it ends, once."""
        ending = self.ending
        if self._is_closed or ending is None or ending.is_gone:
            return
        self._is_closed = True
        try:
            if ending.error is not None:
                await self.outbox.answer(error_message(None, ending.error))
            if ending.reconnects:
                await self.outbox.answer({"type": "reconnect"})
        except Gone:
            return
        await self.outbox.close(ending.code, ending.reason)

    async def _introduced(self) -> Principal:
        """Who the first message says it is. Raises Unauthenticated, also when it does not come in time, and Gone."""
        message = await self._receive(self._services.settings.socket_auth_timeout)
        if message is None:
            if self.ending is not None:
                raise Gone
            raise Unauthenticated("No key came in time: send it as a header, a subprotocol, or in a first message.")
        try:
            first = await self._parse(message)
        except Malformed as malformed:
            raise Unauthenticated(_FIRST) from malformed
        if not isinstance(first, AuthMessage):
            raise Unauthenticated(_FIRST)
        self._credential = Bearer(first.token)
        principal = await self._authenticate(self._credential)
        await self.outbox.answer({"type": "authenticated", "id": first.id, "user_id": principal.user_id})
        return principal

    async def _renew(self, message: AuthMessage, principal: Principal) -> None:
        """Go on with another token of the same session before the old one is over. Raises Unauthenticated, Conflict."""
        credential = Bearer(message.token)
        if await self._authenticate(credential) != principal:
            raise Conflict("This is no token of what the socket was opened with.", reason="authenticated")
        self._credential = credential
        await self.outbox.answer({"type": "authenticated", "id": message.id, "user_id": principal.user_id})

    async def _authenticate(self, credential: Presented) -> Principal:
        await self._services.database.primary.present()
        try:
            return await self._services.access.authenticate(credential, address_of(self._websocket.scope))
        except PyMongoError as error:
            raise as_verbatim_error(error, is_write=False) or error from error

    async def _answer_all(self, requests: Requests, principal: Principal) -> None:
        while self.ending is None:
            message = await self._receive(CHECK_SECONDS)
            if message is not None:
                await self._answer(requests, principal, message)
            elif self.ending is None:
                await self._check_in_silence(principal)

    async def _receive(self, seconds: float) -> Message | None:
        """The next message; None when there was none, or an ending came first. Raises Gone."""
        if self.ending is not None:
            return None
        try:
            async with asyncio.timeout(seconds) as self._waiting:
                message = await self._websocket.receive()
        except TimeoutError:
            return None
        finally:
            self._waiting = None
        if message["type"] == "websocket.disconnect":
            self.end(Ending(message.get("code") or GONE.code, is_gone=True))
            raise Gone
        return message

    async def _check(self, principal: Principal) -> None:
        """Raises Unauthenticated, and Gone when the key's owner has become somebody else."""
        assert self._credential is not None  # noqa: S101 the principal came with one
        if await self._authenticate(self._credential) != principal:
            self.end(CHANGED)
            raise Gone

    async def _check_in_silence(self, principal: Principal) -> None:
        try:
            await self._check(principal)
        except (TooManyLogins, Unavailable) as error:
            logger.warning(
                "key_not_checked", error=type(error).__name__
            )  # nothing was asked for: the next time will do

    async def _answer(self, requests: Requests, principal: Principal, message: Message) -> None:
        """Handle one message; whatever is wrong with it, the socket stays open."""
        id: str | None = None
        is_write = False
        request: AnyMessage | None = None
        try:
            request = await self._parse(message)
            id, is_write = request.id, request.type not in _READS
            if isinstance(request, AuthMessage):
                await self._renew(request, principal)
                return
            await self._check(principal)
            admit(self._services, principal)
            with tracing.part(f"socket {request.type}", {}):
                await requests.handle(request)
        except (Gone, Unauthenticated):
            raise
        except Malformed as malformed:
            await self._refuse(malformed.id, malformed.error, is_write=False)
        except Forbidden as error:
            if request is not None:
                await note_refusal_in_socket(self._websocket.scope, principal, request.type, *target_of(request))
            await self._refuse(id, error, is_write=is_write)
        except Exception as error:  # noqa: BLE001 as a request's: it is told, and its socket goes on
            await self._refuse(id, error, is_write=is_write)

    async def _parse(self, message: Message) -> AnyMessage:
        """Raises Malformed."""
        text = message.get("text")
        if text is None:
            raise Malformed(None, Invalid("Messages are JSON in text frames; this is a binary one."))
        size = len(text) if text.isascii() else len(text.encode())
        if size > MAX_MESSAGE_BYTES:
            raise Malformed(None, PayloadTooLarge(f"The message is larger than {MAX_MESSAGE_BYTES} bytes."))
        return await anyio.to_thread.run_sync(parse, text) if size > IN_LOOP_BYTES else parse(text)

    async def _refuse(self, id: str | None, error: Exception, *, is_write: bool) -> None:
        if isinstance(error, ValidationError):
            places = [{**each, "loc": ("body", *each["loc"][1:])} for each in error.errors(include_url=False)]
            error = RequestValidationError(places)
        known = as_verbatim_error(error, is_write=is_write)
        if known is None:
            logger.error("unhandled_error", path=self._websocket.url.path, exc_info=error)
            known = VerbatimError(f"The fault is logged under request id {request_id()}.")
        await self.outbox.answer(error_message(id, known))


_FIRST = "The first message has to be an auth message with a key."


def error_message(id: str | None, error: VerbatimError) -> dict[str, Any]:
    """The problem document of REST as a message; it has the id of the request, if it is about one."""
    return {**problem_body(error), "type": "error", **({} if id is None else {"id": id})}
