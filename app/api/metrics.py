"""/metrics: for Prometheus."""

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.deps import ServicesDep
from app.kit.errors import Unauthenticated
from app.kit.metrics import CONTENT_TYPE_LATEST, exposition
from app.kit.problems import problem_responses

METRICS_PATH = "/metrics"
routes = APIRouter(tags=["health"])


@routes.get(METRICS_PATH, responses={200: {"content": {"text/plain": {}}}, **problem_responses(401, 403, 503)})
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Prometheus's text format, for admins and for who has VERBATIM_METRICS_KEY (`Authorization: Bearer`)."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated
    own = services.settings.metrics_key
    if own is None or not secrets.compare_digest(own.get_secret_value().encode(), secret.encode()):
        (await services.keys.authenticate(secret)).require("admin")
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
