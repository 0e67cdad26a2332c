"""Errors in the words of OAuth 2 (RFC 6749, 5.2): the dialect of the routes that OAuth describes."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive

from app.auth.token_schemas import SignInError
from app.kit.errors import Invalid, TooManyLogins, Unauthenticated, Unavailable, VerbatimError
from app.kit.logs import request_id
from app.kit.problems import as_verbatim_error, problem_responses
from app.kit.responses import JSON
from app.kit.routing import StrictRoute

NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
MAX_FORM_BYTES = 64 * 1024
_FORM = "application/x-www-form-urlencoded"
_ERRORS: tuple[tuple[type[VerbatimError], int, str], ...] = (
    (Unauthenticated, 400, "invalid_grant"),
    (Invalid, 400, "invalid_request"),
    (TooManyLogins, 429, "temporarily_unavailable"),
    (Unavailable, 503, "temporarily_unavailable"),
)
_DESCRIPTIONS = {
    400: "What was sent cannot be used, or counts no more; `error` names the reason",
    429: "Passwords were tried too often; see Retry-After",
    503: "Cannot be served now; see Retry-After",
}


class OAuthRoute(StrictRoute):
    """A route that takes a small form and answers errors as OAuth has them."""

    content_types = (_FORM,)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(Request(request.scope, _bounded(request.receive)))
            except (VerbatimError, RequestValidationError, PyMongoError) as error:
                known = as_verbatim_error(error, is_write=False)
                if known is None:
                    raise
                return _answer(known)

        return answer


def _bounded(receive: Receive) -> Receive:
    """Who is not known yet may send so much and no more."""
    received = 0

    async def within_limit() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_FORM_BYTES:
            raise HTTPException(413, f"The form is larger than {MAX_FORM_BYTES} bytes.")
        return message

    return within_limit


async def check_form(request: Request) -> None:
    """Raises Invalid when a parameter comes twice, of which each reader might take another one."""
    names = Counter(name for name, _ in (await request.form()).multi_items())
    if twice := [name for name, count in names.items() if count > 1]:
        raise Invalid.field(f"body.{twice[0][:50]}", "comes more than once")


def oauth_responses() -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` of these routes."""
    documented: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "model": SignInError} for status, text in _DESCRIPTIONS.items()
    }
    return documented | problem_responses(413)


def _answer(error: VerbatimError) -> Response:
    for kind, status, name in _ERRORS:
        if isinstance(error, kind):
            return _render(error, status, error.members.get("reason", name))
    raise error


def _render(error: VerbatimError, status: int, name: str) -> Response:
    body = {"error": name, "error_description": error.detail, "request_id": request_id()}
    kept = {key: value for key, value in error.headers.items() if key == "Retry-After"}
    return JSON(body, status_code=status, headers={**NOT_STORED, **kept})
