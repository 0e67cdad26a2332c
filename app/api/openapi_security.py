"""How to get in, as OpenAPI tells it: each route names one scheme with its scopes, and the others do as well, and so
do the roles that may do it (`x-roles`)."""

from typing import Any

from app.api.auth import TOKEN_PATH
from app.api.deps import BEARER
from app.auth.permissions import MEANINGS
from app.auth.principal import ROLE_PERMISSIONS
from app.kit.problems import problem_responses
from app.users.model import ROLES

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
                scopes = required[0][BEARER]
                operation["security"] = [*required, *({name: scopes} for name in _OTHERS)]
                operation["x-roles"] = [role for role in ROLES if ROLE_PERMISSIONS[role].issuperset(scopes)]
            if path.startswith("/api/") or required:
                operation["responses"] = too_often | operation["responses"]  # requests, or wrong passwords
