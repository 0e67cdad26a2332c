"""/api/conversations/export/training: conversations as the lines that trainers of language models read."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request
from starlette.responses import Response

from app.api.deps import ServicesDep, permitted
from app.api.exporting import ExportResponse
from app.audit.trail import record
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS
from app.exports.training.formats import TRAINING_FORMATS
from app.exports.training.model import DEFAULT_MAX_TOKENS, MIN_RATINGS, MOST_TOKENS
from app.exports.training.service import TrainingData, TrainingRequest, check_training, prepare_training
from app.kit.errors import FieldError
from app.kit.listing import check_boolean, parse_listing
from app.kit.parameters import list_parameters, query_parameter
from app.kit.problems import problem_responses
from app.kit.routing import router
from app.services import Services

routes = router("/conversations", "conversations", responses=problem_responses(401, 403, 422, 503))
Exporter = Annotated[Principal, permitted("conversations:export")]

_OWN = frozenset({"format", "min_rating", "include_system", "assume_latest_preferred", "max_tokens"})
_PARAMETERS = [
    query_parameter(
        "format", "For which trainer", {"type": "string", "enum": list(TRAINING_FORMATS), "default": "openai-chat"}
    ),
    query_parameter(
        "min_rating",
        "The lowest rating of answers to learn from; not for pairs",
        {"type": "string", "enum": list(MIN_RATINGS), "default": "unrated"},
    ),
    query_parameter("include_system", "With system prompts and messages", {"type": "boolean", "default": True}),
    query_parameter(
        "assume_latest_preferred",
        "Of answers rated alike the one that was kept is the better one; for pairs alone",
        {"type": "boolean", "default": False},
    ),
    query_parameter(
        "max_tokens",
        "The most tokens of a line, as estimated",
        {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS, "default": DEFAULT_MAX_TOKENS},
    ),
]


def _documentation(description: str) -> dict[str, Any]:
    listed = list_parameters(CONVERSATIONS, paged=False)["parameters"]
    content = {"application/x-ndjson": {"schema": {"type": "string"}}}
    return {
        "openapi_extra": {"parameters": [*_PARAMETERS, *listed]},
        "responses": {200: {"description": description, "content": content}},
        "response_class": Response,
    }


@routes.get("/export/training", **_documentation("JSON Lines: examples to learn from"))
async def export_training(request: Request, principal: Exporter, services: ServicesDep) -> Response:
    """The conversations of the list as training data."""
    data = _training(request, principal, services)
    await record("export.downloaded", CONVERSATIONS.name, details={"format": "training"})
    return ExportResponse(data.file())


@routes.get("/export/training/report", **_documentation("JSON Lines: what was left out, and last a summary"))
async def report_training(request: Request, principal: Exporter, services: ServicesDep) -> Response:
    """What the training data of the same parameters leaves out and why, with its size and SHA-256."""
    data = _training(request, principal, services)
    await record("export.downloaded", CONVERSATIONS.name, details={"format": "training-report"})
    return ExportResponse(data.report())


def _training(request: Request, principal: Principal, services: Services) -> TrainingData:
    parameters = request.query_params.multi_items()
    asked, faults = _read({name: text for name, text in parameters if name in _OWN})
    listing = parse_listing(CONVERSATIONS, parameters, paged=False, beside=_OWN, faults=faults)
    return prepare_training(services.transcripts(principal.scope), listing, asked)


def _read(values: Mapping[str, str]) -> tuple[TrainingRequest, list[FieldError]]:
    """What was asked of the training data, and what is wrong with it."""
    own: dict[str, Any] = dict(values)
    faults = []
    for name in ("include_system", "assume_latest_preferred"):
        if name in own:
            faults += check_boolean(name, own[name])
            own[name] = own[name] != "false"
    if "max_tokens" in own:
        own["max_tokens"] = int(own["max_tokens"]) if re.fullmatch(r"[0-9]{1,9}", own["max_tokens"]) else 0
    asked = TrainingRequest(**own)
    return asked, [*faults, *check_training(asked)]
