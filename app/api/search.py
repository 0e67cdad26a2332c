"""/api/search: messages that match, with the words around the match."""

from typing import Annotated, Any

from fastapi import Request
from starlette.responses import Response

from app.api.deps import ServicesDep, permitted
from app.auth.principal import Principal
from app.conversations.resource import MESSAGES
from app.conversations.search_query import GROUPS, MAX_RESULTS, SEARCH_MATCHES, SEARCH_SORTS, parse_search
from app.conversations.search_schemas import SearchPage
from app.kit.listing import DEFAULT_LIMIT
from app.kit.parameters import filter_parameters, query_parameter
from app.kit.problems import problem_responses
from app.kit.responses import JSON, links_to
from app.kit.routing import router
from app.kit.search import MAX_QUERY_CHARACTERS

routes = router("/search", "search", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("conversations:read")]

_TEXT = {"type": "string"}
_PARAMETERS = [
    query_parameter(
        "q",
        "What the content of a message has to hold",
        {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARACTERS},
        required=True,
    ),
    query_parameter(
        "match",
        "How `q` is understood: as it is, as a regular expression, or as words of the text index",
        {"type": "string", "enum": list(SEARCH_MATCHES), "default": "literal"},
    ),
    query_parameter("case_sensitive", "Tell capital from small letters", {"type": "boolean", "default": False}),
    query_parameter(
        "sort",
        "Order; the default of match=text, and all it can do, is -relevance",
        {"type": "string", "enum": list(SEARCH_SORTS), "default": "-created_at"},
    ),
    query_parameter(
        "group", "One result for each conversation, its first match in the order", {"enum": list(GROUPS), **_TEXT}
    ),
    query_parameter("tag", "Only messages of conversations with this tag", {"minLength": 1, **_TEXT}),
    query_parameter(
        "limit",
        "How many items a page has",
        {"type": "integer", "minimum": 1, "maximum": MAX_RESULTS, "default": DEFAULT_LIMIT},
    ),
    query_parameter("after", "The `next` of the page before this one", _TEXT),
    query_parameter(
        "before", "The `prev` of the page behind this one; not with group or sort=-relevance, nor with `after`", _TEXT
    ),
    *filter_parameters(MESSAGES),
]


@routes.get("", response_model=SearchPage, openapi_extra={"parameters": _PARAMETERS})
async def search_messages(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Search the messages you may see: snippets around the matches, their places, relevance, conversations."""
    search = services.search
    query = parse_search(request.query_params.multi_items(), text_language=search.text_language)
    results = await search.search(principal.scope(MESSAGES), query)
    body: dict[str, Any] = {"items": results.items, "next": results.next, "prev": results.prev}
    if results.is_partial:
        body["partial"] = True
    return JSON(body, headers=links_to(request.url, results.next, results.prev))
