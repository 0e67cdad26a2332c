"""Which web pages may act in their visitor's name: those of this server, and those that the operator has named."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from app.config import Settings
from app.kit.errors import Forbidden


def check_origin(headers: Headers, settings: Settings) -> None:
    """Raises Forbidden for a page of another site. Programs that are no browsers name no origin."""
    origin = headers.get("origin")
    if origin is None:
        return
    own = headers.get("host", "").lower()
    if origin.lower() not in settings.allowed_origins and _host_of(origin) != own:
        raise Forbidden("Pages of this origin may not do this; see VERBATIM_ALLOWED_ORIGINS.")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin.lower()).netloc or None
    except ValueError:
        return None
