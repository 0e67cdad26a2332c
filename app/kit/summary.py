"""Summaries: rows counted and added up in groups by the database, which answers the groups alone.

No row leaves the database, and where an index holds all that is added up none is even read. The scope is part of the
first stage, as of every query. Groups that do not fit the database's memory are kept on its disk meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pymongo.errors import OperationFailure

from app.kit.deadlines import STATS_SECONDS
from app.kit.effort import Effort
from app.kit.errors import Invalid, QueryTooExpensive
from app.kit.repository import Repository, Row, Scope, patience
from app.kit.scanning import GIVEN_UP
from app.kit.transactions import current_session

MAX_GROUPS = 10_000

Expression = Any
"""A Mongo expression that we have written; clients choose among them by name."""
Stage = dict[str, Any]
Period = Literal["day", "week", "month"]

_UNKNOWN_TIME_ZONE = 40485
_TOO_EXPENSIVE = (
    f"To add this up takes more than {STATS_SECONDS:g} seconds; choose a shorter time from `since` to `until`, "
    "filter, or ask for fewer `columns`."
)


@dataclass(frozen=True)
class Key:
    """A value that all rows of a group share."""

    value: Expression
    time_zone: str | None = None
    """Of a key that is an instant: it is shown as the date it has there."""

    def shown(self, value: str) -> Expression:
        """How the answer has it."""
        if self.time_zone is None:
            return value
        return {"$dateToString": {"date": value, "format": "%Y-%m-%d", "timezone": self.time_zone}}


def beginning_of(period: Period, path: str, time_zone: str) -> Key:
    """The date on which the period of a stored instant began in the time zone; weeks begin on Monday."""
    begin = {"date": f"${path}", "unit": period, "timezone": time_zone, "startOfWeek": "monday"}
    return Key({"$dateTrunc": begin}, time_zone)


@dataclass(frozen=True)
class Grouping:
    """What makes a group: its keys by their paths in the answer (dotted when nested), and what is added up.

    `distinct`: the stored paths whose different values are counted, by their names in the answer. Each of them has to
    determine the next one, as a conversation does its owner, so that one can be counted out of the other.
    """

    keys: Mapping[str, Key]
    sums: Mapping[str, Expression] = field(default_factory=dict)
    distinct: Mapping[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> list[Stage]:
        """A group a level: the finest counted value first, the groups that are asked for last."""
        counted = {name: f"${path}" for name, path in self.distinct.items()}
        stages = _grouped({**self._ids, **counted}, {name: {"$sum": adds} for name, adds in self.sums.items()})
        sums = dict.fromkeys(self.sums)
        for name in self.distinct:
            del counted[name]
            again = {each: {"$sum": f"${each}"} for each in sums}
            stages += _grouped(_themselves([*self._ids, *counted]), {**again, name: {"$sum": 1}})
            sums[name] = None
        return [*stages, self._named(sums)]

    def percentiles(self, path: str, percents: Mapping[str, int]) -> list[Stage]:
        """The stages that answer percentiles of a path's whole numbers (by nearest rank), under these names.

        Exact, then rounded to three significant digits: rounding keeps the order, so the percentile of the rounded
        values is the rounded percentile. It bounds a group to 900 different values for each power of ten, whose
        numbers of rows are all that is kept, however many rows there are.
        """
        ids = _themselves(self._ids)
        return [
            *_grouped({**self._ids, "value": _three_digits(f"${path}")}, {"rows": {"$sum": 1}}),
            {
                "$setWindowFields": {
                    "partitionBy": ids or None,
                    "sortBy": {"value": 1},
                    "output": {"reached": _running("current"), "all": _running("unbounded")},
                }
            },
            *_grouped(ids, {name: {"$min": _value_from(percent)} for name, percent in percents.items()}),
            self._named(percents),
        ]

    @property
    def _ids(self) -> dict[str, Expression]:
        """Names without dots, which an id cannot have. A missing value is null, as it is in lists."""
        return {f"key{number}": {"$ifNull": [each.value, None]} for number, each in enumerate(self.keys.values())}

    def _named(self, figures: Iterable[str]) -> Stage:
        """The stage that gives the keys their paths."""
        named = {path: key.shown(f"$key{number}") for number, (path, key) in enumerate(self.keys.items())}
        return {"$project": {**named, **dict.fromkeys(figures, 1)}}


def counted_if(path: str, value: object) -> Expression:
    """What a row adds to the number of rows with this value."""
    return {"$cond": [{"$eq": [f"${path}", value]}, 1, 0]}


def counted_if_set(path: str) -> Expression:
    """What a row adds to the number of rows that have a value."""
    return {"$cond": [{"$gt": [f"${path}", None]}, 1, 0]}


async def summarize(
    rows: Repository[Any],
    scope: Scope,
    conditions: Sequence[Mapping[str, Any]],
    stages: Sequence[Stage],
    effort: Effort,
    *,
    hint: str | None = None,
) -> list[Row]:
    """The groups that the stages make of the rows which may be seen and meet the conditions, in no order.

    `hint`: the name of the index to read, where the planner would not see which one is best.
    Takes its turn among the expensive queries. Raises Invalid (too many groups), QueryTooExpensive, TooManySearches and
    Unavailable.
    """
    pipeline = [{"$match": scope.where(*conditions)}, *stages, {"$limit": MAX_GROUPS + 1}]
    hinted: dict[str, Any] = {} if hint is None else {"hint": hint}
    async with patience(STATS_SECONDS):
        await effort.take_place()
        try:
            cursor = await rows.collection.aggregate(
                pipeline,
                **hinted,
                allowDiskUse=True,
                batchSize=MAX_GROUPS + 2,  # one reply
                maxTimeMS=max(1, int(1000 * effort.left)),
                session=current_session(),
            )
            groups = await cursor.to_list()
        except OperationFailure as error:
            raise _understood(error) from error
    if len(groups) > MAX_GROUPS:
        raise Invalid.field("query.by", f"makes more than {MAX_GROUPS} groups; name fewer, or filter")
    return groups


def _understood(error: OperationFailure) -> Exception:
    if error.code in GIVEN_UP:
        return QueryTooExpensive(_TOO_EXPENSIVE)
    if error.code == _UNKNOWN_TIME_ZONE:
        return Invalid.field("query.tz", "is not known to the database; name the city that the zone is known by")
    return error


def _grouped(ids: Mapping[str, Expression], figures: Mapping[str, Expression]) -> list[Stage]:
    """Groups with their ids as fields. Without the second stage MongoDB 6.0.5 runs three groups behind each other in
    another engine, which takes all groups of the second for one."""
    fields = {**{name: f"$_id.{name}" for name in ids}, **dict.fromkeys(figures, 1)}
    return [{"$group": {"_id": dict(ids), **figures}}, {"$project": {"_id": 0, **fields}}]


def _themselves(names: Iterable[str]) -> dict[str, str]:
    return {name: f"${name}" for name in names}


def _running(end: str) -> Expression:
    return {"$sum": "$rows", "window": {"documents": ["unbounded", end]}}


def _value_from(percent: int) -> Expression:
    """The value, when so many percent of the rows have it or a smaller one. In whole numbers: fractions would round."""
    return {"$cond": [{"$gte": [{"$multiply": ["$reached", 100]}, {"$multiply": ["$all", percent]}]}, "$value", None]}


def _three_digits(value: Expression) -> Expression:
    """Of a whole number; what has ten digits or more keeps more of them."""
    branches = [
        {"case": {"$lt": [value, 10**digits]}, "then": {"$round": [value, 3 - digits]}} for digits in range(4, 9)
    ]
    exact = {"case": {"$lt": [value, 1000]}, "then": value}
    return {"$switch": {"branches": [exact, *branches], "default": {"$round": [value, -6]}}}
