"""/health and /capabilities: for probes and for clients that want to know what this server can do."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from pymongo.errors import PyMongoError
from starlette.responses import Response

from app import __version__
from app.api.deps import Anyone, DrainDep, ServicesDep
from app.kit.errors import Unavailable
from app.kit.export import FORMATS
from app.kit.listing import MAX_LIMIT
from app.kit.problems import problem_responses
from app.kit.responses import JSON
from app.kit.search import MATCHES

routes = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str


class Capabilities(BaseModel):
    version: str
    models: list[str]
    default_model: str
    export_formats: list[str]
    search_matches: list[str]
    text_search: bool
    limits: dict[str, int]


@routes.get("/health/live", response_model=Health)
async def live() -> Response:
    """200 while the process runs."""
    return JSON({"status": "ok"})


@routes.get("/health/ready", response_model=Health, responses=problem_responses(503))
async def ready(services: ServicesDep, drain: DrainDep) -> Response:
    """200 when requests can be served: a primary answers and the server is not shutting down."""
    if drain.has_started:
        raise Unavailable("The server is shutting down.")
    try:
        await services.database.ping()
    except PyMongoError as error:
        raise Unavailable("The database has no primary that answers.", retry_after=2) from error
    return JSON({"status": "ok"})


@routes.get("/capabilities", response_model=Capabilities, responses=problem_responses(401, 403, 503))
async def capabilities(_: Anyone, services: ServicesDep) -> Response:
    """What this server offers; a provider's model is named `provider:model`."""
    settings = services.settings
    body: dict[str, Any] = {
        "version": __version__,
        "models": services.models.names(),
        "default_model": settings.default_model,
        "export_formats": [each.name for each in FORMATS.values() if each.is_installed],
        "search_matches": list(MATCHES),
        "text_search": settings.text_search,
        "limits": {
            "body_bytes": settings.max_body_bytes,
            "import_bytes": settings.import_max_bytes,
            "message_bytes": settings.max_message_bytes,
            "page_items": MAX_LIMIT,
        },
    }
    return JSON(body)
