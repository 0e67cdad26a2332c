"""Rendering rows as JSON: straight from the database's dictionaries, without validating them again."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from bson import ObjectId
from starlette.datastructures import URL
from starlette.responses import Response

from app.kit.etag import etag, is_unchanged
from app.kit.paging import Page
from app.kit.resource import Resource


def _default(value: object) -> str:
    if isinstance(value, ObjectId):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def to_json(value: Any) -> bytes:
    """UTF-8 JSON; ObjectIds as 24 hex digits, times as RFC 3339 in UTC."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_UTC_Z)


class JSON(Response):
    """A JSON answer of a value that holds ids and times."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def found(resource: Resource, row: Mapping[str, Any], *, if_none_match: str | None = None) -> Response:
    """200 with the row and its ETag, or 304 when the client has this version."""
    return versioned(resource.render(row), row["version"], if_none_match)


def versioned(value: Any, version: int, if_none_match: str | None = None) -> Response:
    """200 with a value that changes with `version`, or 304."""
    headers = {"ETag": etag(version)}
    if is_unchanged(if_none_match, version):
        return Response(status_code=304, headers=headers)
    return JSON(value, headers=headers)


def created(resource: Resource, row: Mapping[str, Any], location: str, **members: Any) -> Response:
    """201 with the row, its ETag and its Location; `members`: what is shown this once."""
    headers = {"Location": location, "ETag": etag(row["version"])}
    return JSON({**resource.render(row), **members}, status_code=201, headers=headers)


def listed(resource: Resource, page: Page, url: URL, fields: tuple[str, ...] = ()) -> Response:
    """200 with the page's items, the cursors of its neighbours, the total if it was counted, and `Link`s to them; it
    says when it is partial."""
    items = [resource.render(row, fields) for row in page.rows]
    body: dict[str, Any] = {"items": items, "next": page.next, "prev": page.prev}
    if page.total is not None:
        body["total"] = page.total
    if page.partial:
        body["partial"] = True
    return JSON(body, headers=links_to(url, page.next, page.prev))


def links_to(url: URL, following: str | None, previous: str | None) -> dict[str, str]:
    """The header with the URLs of the pages beside the one at `url`; none where there is no cursor."""
    neighbours = [("next", "after", following), ("prev", "before", previous)]
    links = [_link(url, relation, name, cursor) for relation, name, cursor in neighbours if cursor is not None]
    return {"Link": ", ".join(links)} if links else {}


def _link(url: URL, relation: str, parameter: str, cursor: str) -> str:
    """The member of a `Link` header that turns the list's page."""
    query = url.remove_query_params(["after", "before"]).include_query_params(**{parameter: cursor}).query
    return f'<{url.path}?{query}>; rel="{relation}"'


def path_of(*segments: object, **query: str) -> str:
    """The path of a resource in this API."""
    path = "/api/" + "/".join(str(segment) for segment in segments)
    return f"{path}?{urlencode(query)}" if query else path
