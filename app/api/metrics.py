"""/metrics: for Prometheus."""

import asyncio
import secrets

from fastapi import APIRouter, Request
from pydantic import SecretStr
from starlette.responses import Response

from app.api.deps import ServicesDep
from app.auth.credentials import Bearer, Presented, parse_authorization
from app.kit.metrics import CONTENT_TYPE_LATEST, exposition, tasks
from app.kit.middleware import address_of
from app.kit.problems import problem_responses

METRICS_PATH = "/metrics"
routes = APIRouter(tags=["health"])


@routes.get(METRICS_PATH, responses={200: {"content": {"text/plain": {}}}, **problem_responses(401, 403, 429, 503)})
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Prometheus's text format, for `metrics:read` and for who has VERBATIM_METRICS_KEY (`Authorization: Bearer`)."""
    presented = parse_authorization(request.headers.get("authorization", ""))
    if not _is_own_key(presented, services.settings.metrics_key):
        await services.database.primary.present()
        (await services.access.authenticate(presented, address_of(request.scope))).require("metrics:read")
    tasks.set(len(asyncio.all_tasks()))
    return Response(await asyncio.to_thread(exposition), media_type=CONTENT_TYPE_LATEST)


def _is_own_key(presented: Presented, own: SecretStr | None) -> bool:
    return (
        own is not None
        and isinstance(presented, Bearer)
        and secrets.compare_digest(own.get_secret_value().encode(), presented.secret.encode("utf-8", "surrogateescape"))
    )
