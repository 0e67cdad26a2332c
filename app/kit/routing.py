"""Routes whose bodies are read as strict JSON."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.kit import strict_json


class StrictRequest(Request):
    """A request that refuses JSON which could not be stored or read again."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = strict_json.loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def router(prefix: str, tag: str, **options: Any) -> APIRouter:
    """A router of our REST face."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute, **options)
