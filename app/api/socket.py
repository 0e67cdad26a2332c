"""/api/ws: one socket, many conversations. docs/websocket.md describes its messages."""

import time
from typing import cast

from fastapi import APIRouter
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.origins import check_origin
from app.api.socket_credentials import subprotocol_of, take_credential
from app.api.socket_session import Session
from app.auth.credentials import Presented
from app.kit.errors import Unavailable, VerbatimError
from app.kit.logs import begin_request, logger, request_id
from app.kit.middleware import request_id_of
from app.kit.problems import problem
from app.kit.streaming import Drain
from app.services import Services

routes = APIRouter()


async def serve_socket(websocket: WebSocket) -> None:
    """Refuse the handshake, or serve the socket until it ends."""
    begin_request(request_id_of(websocket.headers))
    services = cast("Services", websocket.app.state.services)
    drain = cast("Drain", websocket.app.state.drain)
    try:
        check_origin(websocket.headers, services.settings)  # a browser lets any page open a socket
        credential = take_credential(websocket, services.settings)
        if drain.has_started:
            raise Unavailable("The server is shutting down; ask another one.")
    except VerbatimError as error:
        logger.info("socket_refused", path=websocket.url.path, status=error.status)
        await websocket.send_denial_response(problem(error))
        return
    await _serve(websocket, Session(websocket, services, drain), credential)


async def _serve(websocket: WebSocket, session: Session, credential: Presented | None) -> None:
    started = time.perf_counter()
    path = websocket.url.path
    try:
        await websocket.accept(
            subprotocol=subprotocol_of(websocket), headers=[(b"x-request-id", request_id().encode())]
        )
    except WebSocketDisconnect:
        return
    logger.info("socket_opened", path=path)
    try:
        await session.run(credential)
    finally:
        elapsed = round((time.perf_counter() - started) * 1000, 1)
        code = session.ending.code if session.ending else 1000
        logger.info("socket_closed", path=path, code=code, ms=elapsed, sent=session.outbox.count)


routes.routes.append(WebSocketRoute("/ws", serve_socket, name="socket"))
