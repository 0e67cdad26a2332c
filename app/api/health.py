"""/health and /capabilities: for probes and for clients that want to know what this server can do."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from pymongo.errors import PyMongoError
from starlette.responses import Response

from app import __version__
from app.api.deps import Anyone, DrainDep, ServicesDep
from app.kit.errors import Unavailable
from app.kit.export import FORMATS
from app.kit.listing import MAX_LIMIT
from app.kit.primary import RETRY_SECONDS
from app.kit.problems import problem_responses
from app.kit.responses import JSON
from app.kit.search import MATCHES
from app.topology import Topology

routes = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str


class DegradedMode(BaseModel):
    name: str
    what: str


class DatabaseCapabilities(BaseModel):
    """What the database was found to be when this server started. `degraded`: in which ways the server falls short."""

    product: str
    version: str
    topology: Literal["standalone", "replica_set", "sharded"]
    members: int
    transactions: bool
    change_streams: bool
    ttl: bool
    text_index: bool
    degraded: list[DegradedMode]


class Capabilities(BaseModel):
    version: str
    database: DatabaseCapabilities | None
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
    """200 when requests can be served: the server is not shutting down, the database has a primary, a majority of its
    members stores what is written, and migrations are done."""
    if drain.has_started:
        raise Unavailable("The server is shutting down.")
    if services.database.primary.is_away:
        raise Unavailable("The database has no primary that answers.", retry_after=RETRY_SECONDS)
    try:
        await services.database.writable()
        await services.migrations.assure()
    except PyMongoError as error:
        sentence = "The database has a primary, but no majority of its members has stored a write in time."
        raise Unavailable(sentence, retry_after=RETRY_SECONDS) from error
    return JSON({"status": "ok"})


@routes.get("/capabilities", response_model=Capabilities, responses=problem_responses(401, 403, 503))
async def capabilities(_: Anyone, services: ServicesDep) -> Response:
    """What this server offers; a provider's model is named `provider:model`."""
    settings = services.settings
    body: dict[str, Any] = {
        "version": __version__,
        "database": _described(services.database.topology),
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


def _described(topology: Topology | None) -> dict[str, Any] | None:
    if topology is None:
        return None
    return {
        "product": topology.product.name,
        "version": topology.version,
        "topology": topology.kind,
        **{
            name: getattr(topology, name) for name in ("members", "transactions", "change_streams", "ttl", "text_index")
        },
        "degraded": [{"name": mode.name, "what": mode.sentence(topology)} for mode in topology.modes],
    }
