"""How to get in, as OpenAPI tells it: each route names one scheme with its scopes, and the others do as well."""

from typing import Any

from app.api.auth import TOKEN_PATH
from app.api.deps import BEARER
from app.auth.permissions import MEANINGS
from app.kit.problems import problem_responses

_FLOW = {"tokenUrl": TOKEN_PATH, "refreshUrl": TOKEN_PATH, "scopes": dict(MEANINGS)}
_OTHERS: dict[str, dict[str, Any]] = {
    "password": {"type": "oauth2", "description": "Sign in with your e-mail", "flows": {"password": _FLOW}},
    "basic": {"type": "http", "scheme": "basic", "description": "E-mail and password, or anything and an API key"},
}


def add_credentials(openapi: dict[str, Any]) -> None:
    """Add the other ways to get in to the document, for each route with the same scopes."""
    openapi["components"]["securitySchemes"].update(_OTHERS)
    too_often = {str(status): response for status, response in problem_responses(429).items()}
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            if required := operation.get("security"):
                operation["security"] = [*required, *({name: required[0][BEARER]} for name in _OTHERS)]
            if path.startswith("/api/") or required:
                operation["responses"] = too_often | operation["responses"]  # requests, or wrong passwords
