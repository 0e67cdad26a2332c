"""What can be done next with what a request has made: OpenAPI's links from answers to the routes that take their ids.

A client, a generator and a tester find the way from `POST /api/conversations` to `POST /api/conversations/{id}/turns`
without guessing which id goes where.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_ID = "{id}"
_MADE_ELSEWHERE = {
    "/api/conversations/{id}/fork": "/api/conversations",
    "/api/conversations/{id}/messages": "/api/messages",
    "/api/conversations/{id}/turns": "/api/turns",
    "/api/conversations/{id}/regenerate": "/api/turns",
    "/api/turns/{id}/retry": "/api/turns",
    "/api/imports/{id}/undo": "/api/imports",
}
"""Where what such a POST makes is found; otherwise that is the collection that is posted to."""
_OF_PARENT = {
    ("/api/conversations/{id}/links", "/api/conversations/{id}/links/{link_id}"): ("id", "link_id"),
    ("/api/webhooks/{id}/ping", "/api/webhooks/{id}/deliveries/{delivery}/redeliver"): ("id", "delivery"),
}
"""Parts of what they are made for, whose paths name both."""
_MADE = ("201", "202")


def add_links(openapi: dict[str, Any]) -> None:
    """Name in each answer that makes something what its id is good for."""
    paths: Mapping[str, Mapping[str, Any]] = openapi["paths"]
    for path, operations in paths.items():
        for status in _MADE:
            response = operations.get("post", {}).get("responses", {}).get(status)
            links = None if response is None else dict(_links(paths, path))
            if links:
                response["links"] = links


def _links(paths: Mapping[str, Mapping[str, Any]], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    home = f"{_MADE_ELSEWHERE.get(path, path)}/{_ID}"
    for target, operations in paths.items():
        if parents := _OF_PARENT.get((path, target)):
            parent, part = parents
            yield from _to(operations, {parent: f"$request.path.{parent}", part: "$response.body#/id"})
        elif (target == home or target.startswith(f"{home}/")) and target.count("{") == 1:
            yield from _to(operations, {"id": "$response.body#/id"})


def _to(operations: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operation in operations.values():
        if operation.get("security"):  # what a signature opens takes more than an id
            name = operation["operationId"].partition("_api_")[0]
            yield name, {"operationId": operation["operationId"], "parameters": dict(parameters)}
