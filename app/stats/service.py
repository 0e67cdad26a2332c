"""Having the database add up a summary, and laying it out."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from app import __version__
from app.exports.layout import Layout
from app.exports.service import Export, ScopeOf, Sources, with_joins
from app.exports.tables import Table
from app.kit.deadlines import STATS_SECONDS
from app.kit.export import ExportOptions, Format
from app.kit.export.jsonl_writer import nested
from app.kit.export.value import instant_text
from app.kit.repository import Row
from app.kit.resource import Column, Resource
from app.kit.summary import Grouping, Key, beginning_of, summarize
from app.kit.threads import in_thread
from app.stats.request import StatsRequest
from app.stats.tables import PERIODS, TOTAL, Percentiles

JOINED_AT_ONCE = 1000


async def add_up(sources: Sources, scope_of: ScopeOf, request: StatsRequest) -> list[Row]:
    """The groups in order. Raises Invalid, QueryTooExpensive, TooManySearches and Unavailable.

    Percentiles are queries of their own, of the moments behind the first one: a turn that ends meanwhile may be in one
    and not in the other.
    """
    stats, rows = request.stats, sources[request.stats.name]
    scope, grouping = scope_of(stats.resource), _grouping(request)
    keys = [stats.keys[name][0] for name in request.by if name != TOTAL]
    within = {"created_at": {"$gte": request.since, "$lt": request.until}}
    conditions = [within, *request.listing.all_conditions]
    hint = None if scope.filter or request.listing.all_conditions else stats.index
    parts: list[tuple[list[Row], dict[str, int]]] = []
    async with rows.effort(scope, STATS_SECONDS) as effort:
        groups = await summarize(rows, scope, conditions, grouping.stages, effort, hint=hint)
        for each, percents in _shown_percentiles(request):
            stages = grouping.percentiles(each.path, percents)
            parts.append(
                (await summarize(rows, scope, [*conditions, each.condition], stages, effort, hint=hint), percents)
            )

    def put_together() -> list[Row]:
        for found, percents in parts:
            _complete(groups, found, keys, percents)
        for name, known in stats.unknown_without.items():
            for group in groups:
                group[name] = group[name] if group[known] else None
        return _in_order(request, groups, keys)

    ordered = await in_thread(put_together)  # of ten thousand groups a tenth of a second
    await _join(sources, scope_of, request, ordered)
    return ordered


def as_file(
    request: StatsRequest, groups: list[Row], format: Format, options: ExportOptions, started: datetime
) -> Export:
    """The groups as a file to send."""
    name = f"{request.stats.name}-stats"
    layout = Layout(Table(Resource(name, tuple(request.columns))), request.columns, format, options)

    async def batches() -> AsyncGenerator[list[Row], None]:
        yield groups

    return Export(format, layout.filename(started), layout.stream(batches(), _about(request, started)))


def _about(request: StatsRequest, started: datetime) -> dict[str, str]:
    """What a file says of itself."""
    return {
        "Title": f"Verbatim: {request.stats.name} by {', '.join(request.by)}",
        "Filter": ", ".join(f"{name}={text}" for name, text in sorted(request.filters.items())) or "none",
        "From": instant_text(request.since),
        "Before": instant_text(request.until),
        "Exported at": instant_text(started),
        "Version": __version__,
    }


def as_objects(columns: Sequence[Column], groups: Sequence[Row]) -> list[dict[str, Any]]:
    """The groups as JSON has them: nested where a column's name is dotted."""
    paths = [tuple(column.name.split(".")) for column in columns]
    return [nested(paths, [_value(group, column) for column in columns]) for group in groups]


def _grouping(request: StatsRequest) -> Grouping:
    stats = request.stats
    return Grouping(
        keys={stats.keys[name][0].path: _key(request, name) for name in request.by if name != TOTAL},
        sums={column.name: adds for column, adds in stats.sums.items()},
        distinct={column.name: path for column, path in stats.distinct.items() if column in request.columns},
    )


def _key(request: StatsRequest, name: str) -> Key:
    for period in PERIODS:
        if name == period:
            return beginning_of(period, "created_at", request.tz)
    return Key(f"${request.stats.by[name].path}")


def _shown_percentiles(request: StatsRequest) -> list[tuple[Percentiles, dict[str, int]]]:
    """The percentiles that are asked for, by the number they are of."""
    shown = [
        (each, {column.name: percent for column, percent in each.columns.items() if column in request.columns})
        for each in request.stats.percentiles
    ]
    return [(each, percents) for each, percents in shown if percents]


def _complete(groups: Sequence[Row], found: Sequence[Row], keys: Sequence[Column], names: Iterable[str]) -> None:
    """Put what another query found into the groups; null where it found nothing."""
    by_key = {_key_of(row, keys): row for row in found}
    nothing = dict.fromkeys(names)
    for group in groups:
        row = by_key.get(_key_of(group, keys), nothing)
        group.update({name: row[name] for name in nothing})


async def _join(sources: Sources, scope_of: ScopeOf, request: StatsRequest, groups: Sequence[Row]) -> None:
    """Put the rows that values stand for into the groups, as far as their columns are shown."""
    joins = [request.stats.joins[name] for name in request.by if name in request.stats.joins]
    shown = tuple(join for join in joins if any(column in request.columns for column in join.columns))

    async def batches() -> AsyncGenerator[list[Row], None]:
        for start in range(0, len(groups), JOINED_AT_ONCE):
            yield list(groups[start : start + JOINED_AT_ONCE])

    async for _ in with_joins(batches(), shown, sources, scope_of):
        pass


def _in_order(request: StatsRequest, groups: Sequence[Row], keys: Sequence[Column]) -> list[Row]:
    """By their keys, or by the column that is asked for and then by their keys. Null comes before every value."""
    ordered = sorted(groups, key=lambda group: [_rank(value) for value in _key_of(group, keys)])
    if (column := request.sort) is None:
        return ordered
    return sorted(ordered, key=lambda group: _rank(_value(group, column)), reverse=request.is_descending)


def _rank(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def _key_of(group: Row, keys: Sequence[Column]) -> tuple[Any, ...]:
    return tuple(_value(group, column) for column in keys)


def _value(group: Row, column: Column) -> Any:
    value: Any = group
    for segment in column.path.split("."):
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value
