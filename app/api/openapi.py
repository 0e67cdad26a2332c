"""The OpenAPI document: what FastAPI tells of the routes, with what it cannot know."""

from typing import Any

from fastapi import FastAPI

from app.api.openapi_links import add_links
from app.api.openapi_security import add_credentials


def complete_openapi(app: FastAPI) -> None:
    """Add all ways to get in, and what answers lead to; once, when the document is asked for first."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            add_credentials(document)
            add_links(document)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
