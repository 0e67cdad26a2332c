"""The middleware of the application, in its order: what each request passes before it comes to a route."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.api import imports, sharing
from app.api.audit_trail import AuditTrail
from app.api.authentication import Authentication
from app.api.availability import Availability
from app.api.rate_limits import RateLimiting
from app.api.starting import Starting
from app.config import Settings
from app.kit.hardening import HeadLimit, SecurityHeaders
from app.kit.middleware import BodyLimit, HeadRequests, RequestContext
from app.kit.request_spans import RequestSpans

MAX_URL_BYTES = 16 * 1024
MAX_HEADER_BYTES = 32 * 1024
CORS: Mapping[str, Any] = {
    "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": [
        *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"),
        "X-Request-Id",
    ],
    "expose_headers": [
        *("Content-Disposition", "ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After"),
        *("WWW-Authenticate", "X-Request-Id"),
    ],
    "max_age": 600,
}
"""What pages of allowed origins may send and read. There are no cookies, so no credentials to allow."""


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """The innermost first. What is refused is refused as far outside as can be, and answered with all headers."""
    app.add_middleware(AuditTrail)
    app.add_middleware(HeadRequests)
    app.add_middleware(Authentication)
    app.add_middleware(Availability)
    app.add_middleware(RateLimiting)
    app.add_middleware(Starting)
    larger = {f"/api{imports.PATH}": settings.import_max_bytes}
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, others=larger)
    app.add_middleware(HeadLimit, max_url_bytes=MAX_URL_BYTES, max_header_bytes=MAX_HEADER_BYTES)
    if settings.allowed_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.allowed_origins, **CORS)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestContext, secrets_in_paths=sharing.LINK_PATH)
    if settings.otel_endpoint is not None:
        app.add_middleware(RequestSpans)
