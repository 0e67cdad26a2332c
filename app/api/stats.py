"""/api/stats: messages and turns, counted and added up."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from app.api.deps import ServicesDep, permitted
from app.api.exporting import ExportResponse, separated
from app.auth.principal import Principal
from app.kit.clock import now
from app.kit.errors import FieldError
from app.kit.export import FORMATS, ExportOptions
from app.kit.parameters import filter_parameters, query_parameter
from app.kit.problems import problem_responses
from app.kit.repository import Row
from app.kit.resource import Kind
from app.kit.responses import JSON
from app.kit.routing import router
from app.kit.schemas import Output
from app.kit.threads import in_thread
from app.services import Services
from app.stats.request import DEFAULT_DAYS, MAX_DAYS, MAX_KEYS, StatsRequest, parse_stats
from app.stats.service import add_up, as_file, as_objects
from app.stats.tables import MESSAGE_STATS, PERIODS, TOTAL, USAGE_STATS, Stats

routes = router("/stats", "stats", responses=problem_responses(401, 403, 422, 429, 503))
Reader = Annotated[Principal, permitted("stats:read")]

_FORMAT_PARAMETERS = frozenset({"format", "raw"})
_FORMATS = ("json", *FORMATS)


class StatsColumn(Output):
    name: str = Field(description="where its values are in an item, dotted when nested")
    label: str
    kind: Kind


class StatsRead(Output):
    items: list[dict[str, Any]]
    columns: list[StatsColumn]
    since: str = Field(description="rows from this instant on")
    until: str = Field(description="and before this one")
    tz: str


def _documentation(stats: Stats) -> dict[str, Any]:
    """Keyword arguments of a summary's route: its parameters and answers in OpenAPI."""
    figures = ", ".join(column.name for column in stats.figures)
    text = {"type": "string"}
    own = [
        query_parameter(
            "by",
            f"What makes a row: up to {MAX_KEYS} of {', '.join(stats.keys)}, separated by commas; one of "
            f"{', '.join(PERIODS)} at most, and {TOTAL} alone",
            {**text, "default": PERIODS[0]},
        ),
        query_parameter(
            "since",
            f"A date, which begins in `tz`, or an instant; {DEFAULT_DAYS} days without. At most {MAX_DAYS} days before "
            "`until`",
            text,
        ),
        query_parameter("until", "Rows before this date or instant; now without", text),
        query_parameter("tz", "The time zone in which dates and periods begin", {**text, "default": "UTC"}),
        query_parameter("columns", f"Only these, separated by commas: those of `by`, and {figures}", text),
        query_parameter("sort", "One of the columns; '-' reverses it. Without: in the order of `by`", text),
        query_parameter("format", "", {**text, "enum": list(_FORMATS), "default": "json"}),
        query_parameter(
            "raw",
            "CSV for programs: no byte order mark, no guard against formulas",
            {"type": "boolean", "default": False},
        ),
    ]
    files = {each.media_type.partition(";")[0]: {"schema": text} for each in FORMATS.values()}
    return {
        "response_model": StatsRead,
        "responses": {200: {"description": "The table", "content": files}},
        "openapi_extra": {"parameters": [*own, *filter_parameters(stats.filtered)]},
    }


@routes.get("/messages", **_documentation(MESSAGE_STATS))
async def summarize_messages(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """How many messages, in how many conversations of how many users, and how they were rated."""
    return await _answer(request, services, principal, MESSAGE_STATS)


@routes.get("/usage", **_documentation(USAGE_STATS))
async def summarize_usage(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """What turns came to, their tokens and cost, and percentiles of how long the completed ones took."""
    return await _answer(request, services, principal, USAGE_STATS)


async def _answer(request: Request, services: Services, principal: Principal, stats: Stats) -> Response:
    own, others, faults = separated(request.query_params.multi_items(), _FORMAT_PARAMETERS)
    name, started = own.get("format", "json"), now()
    if name not in _FORMATS:
        faults.append(FieldError("query.format", f"is one of {', '.join(_FORMATS)}"))
    asked = await parse_stats(stats, others, instant=started, faults=faults)
    groups = await add_up(services.sources, principal.scope, asked)
    if name in FORMATS:
        options = ExportOptions(
            raw=own.get("raw") == "true", tz=asked.tz, sheet_name=f"{stats.name.capitalize()} stats"
        )
        return ExportResponse(as_file(asked, groups, FORMATS[name], options, started))
    return await in_thread(lambda: JSON(_described(asked, groups)))


def _described(asked: StatsRequest, groups: Sequence[Row]) -> dict[str, Any]:
    return {
        "items": as_objects(asked.columns, groups),
        "columns": [{"name": each.name, "label": each.label, "kind": each.kind} for each in asked.columns],
        "since": asked.since,
        "until": asked.until,
        "tz": asked.tz,
    }
