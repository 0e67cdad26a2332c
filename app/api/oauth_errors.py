"""Errors in the words of OAuth 2 (RFC 6749, 5.2): the dialect of the routes that OAuth describes."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pymongo.errors import PyMongoError
from starlette.responses import Response

from app.auth.token_schemas import SignInError
from app.kit.errors import Invalid, TooManyLogins, Unauthenticated, Unavailable, VerbatimError
from app.kit.logs import request_id
from app.kit.problems import as_verbatim_error
from app.kit.responses import JSON
from app.kit.routing import StrictRoute

NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM = "application/x-www-form-urlencoded"
_ERRORS: tuple[tuple[type[VerbatimError], int, str], ...] = (
    (Unauthenticated, 400, "invalid_grant"),
    (Invalid, 400, "invalid_request"),
    (TooManyLogins, 429, "temporarily_unavailable"),
    (Unavailable, 503, "temporarily_unavailable"),
)
_DESCRIPTIONS = {
    400: "What was sent cannot be used, or counts no more; `error` names the reason",
    413: "The body is larger than the limit",
    429: "Passwords were tried too often; see Retry-After",
    503: "Cannot be served now; see Retry-After",
}


class OAuthRoute(StrictRoute):
    """A route that takes a form and answers errors as OAuth has them."""

    content_types = (_FORM,)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                _check_form(await request.body())
                return await handle(request)
            except (VerbatimError, RequestValidationError, PyMongoError) as error:
                known = as_verbatim_error(error, is_write=False)
                if known is None:
                    raise
                return _answer(known)

        return answer


def oauth_responses() -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` of these routes."""
    return {status: {"description": text, "model": SignInError} for status, text in _DESCRIPTIONS.items()}


def _check_form(body: bytes) -> None:
    """Raises Invalid when a parameter comes twice, of which each reader might take another one."""
    try:
        names = Counter(name for name, _ in parse_qsl(body, keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise Invalid("There are too many parameters.") from error
    if twice := [name.decode("utf-8", "replace") for name, count in names.items() if count > 1]:
        raise Invalid.field(f"body.{twice[0][:50]}", "comes more than once")


def _answer(error: VerbatimError) -> Response:
    for kind, status, name in _ERRORS:
        if isinstance(error, kind):
            return _render(error, status, error.members.get("reason", name))
    raise error


def _render(error: VerbatimError, status: int, name: str) -> Response:
    body = {"error": name, "error_description": error.detail, "request_id": request_id()}
    kept = {key: value for key, value in error.headers.items() if key == "Retry-After"}
    return JSON(body, status_code=status, headers={**NOT_STORED, **kept})
