"""What can be summarized: which rows, by what, and which figures of each group."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, get_args

from app.conversations.resource import MESSAGES
from app.exports.tables import OWNER, Join
from app.kit.resource import Column, Resource
from app.kit.summary import Expression, Period, counted_if, counted_if_set
from app.turns.resource import TURNS

PERIODS: tuple[Period, ...] = get_args(Period)
_PERIOD_COLUMNS = {period: Column(period, period.capitalize(), "date") for period in PERIODS}
TOTAL = "total"
"""By nothing: one row."""


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of a stored number, over the rows that meet the condition: their columns and percents."""

    path: str
    condition: Mapping[str, Any]
    columns: Mapping[Column, int]


@dataclass(frozen=True)
class Stats:
    """A summary of a resource.

    `by`: the columns whose values make groups, by the names that clients use, beside the periods. `sums`: what each row
    adds to a figure. `distinct`: figures that count different values, the finest first. `unknown_without`: figures
    that are null where another one is zero, since nothing was known that could be added up.
    """

    resource: Resource
    by: Mapping[str, Column]
    sums: Mapping[Column, Expression]
    distinct: Mapping[Column, str]
    percentiles: tuple[Percentiles, ...] = ()
    unknown_without: Mapping[str, str] = field(default_factory=dict)
    joins: Mapping[str, Join] = field(default_factory=dict)
    """Rows that a value of `by` stands for, by its name; their columns are shown beside it."""
    index: str | None = None
    """The index that holds everything above, for sums of everybody's rows without a filter."""

    @property
    def name(self) -> str:
        return self.resource.name

    @cached_property
    def filtered(self) -> Resource:
        """The resource as its rows are filtered here: the time is said in another way, and texts are not searched."""
        return replace(
            self.resource,
            columns=tuple(
                replace(column, searchable=False, filterable=column.filterable and column.name != "created_at")
                for column in self.resource.columns
            ),
        )

    @cached_property
    def keys(self) -> Mapping[str, tuple[Column, ...]]:
        """All that can make a group, and the columns that show it."""
        stored = {name: (column, *self._joined(name)) for name, column in self.by.items()}
        return {**{period: (column,) for period, column in _PERIOD_COLUMNS.items()}, **stored, TOTAL: ()}

    @cached_property
    def figures(self) -> tuple[Column, ...]:
        """What can be said of a group."""
        percentiles = [column for each in self.percentiles for column in each.columns]
        return (*self.sums, *self.distinct, *percentiles)

    def _joined(self, name: str) -> tuple[Column, ...]:
        return self.joins[name].columns if name in self.joins else ()


def _columns(resource: Resource, **names: str) -> dict[str, Column]:
    """Columns of a resource by the names that they have here."""
    return {name: resource.by_name[column] for name, column in names.items()}


def _count(name: str, label: str) -> Column:
    return Column(name, label, "integer")


def _latency(path: str, label: str) -> Percentiles:
    """Of turns that came to their end: how quickly one fails says nothing about the others."""
    columns = {
        Column(f"{path}_p{percent}", f"{label}, p{percent} (ms)", "integer", nullable=True): percent
        for percent in (50, 95, 99)
    }
    return Percentiles(path, {"state": "completed", path: {"$gte": 0}}, columns)


_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
_COST = Column("cost", "Cost (USD)", "number", nullable=True)

MESSAGE_STATS = Stats(
    # Hidden messages have a time. Not `null`: whether a value is null or absent an index does not know, and the
    # database would read each message to find out.
    replace(MESSAGES, live_filter={"deleted_at": {"$not": {"$gt": _BEFORE_ALL}}}),
    by=_columns(
        MESSAGES,
        user="owner_id",
        role="role",
        model="model",
        provider="provider",
        status="status",
        rating="feedback.rating",
        finish_reason="finish_reason",
        error="error.code",
    ),
    sums={
        _count("messages", "Messages"): 1,
        _count("rated_up", "Rated up"): counted_if("feedback.rating", "up"),
        _count("rated_down", "Rated down"): counted_if("feedback.rating", "down"),
    },
    distinct={
        _count("conversations", "Conversations"): "conversation_id",
        _count("users", "Users"): "owner_id",
    },
    joins={"user": OWNER},
)

USAGE_STATS = Stats(
    TURNS,
    by=_columns(
        TURNS,
        user="owner_id",
        model="model",
        served_model="served_model",
        provider="provider",
        state="state",
        error="error.code",
    ),
    sums={
        _count("turns", "Turns"): 1,
        _count("completed", "Completed"): counted_if("state", "completed"),
        _count("failed", "Failed"): counted_if("state", "failed"),
        _count("cancelled", "Cancelled"): counted_if("state", "cancelled"),
        _count("interrupted", "Interrupted"): counted_if("state", "interrupted"),
        _count("prompt_tokens", "Prompt tokens"): "$usage.prompt",
        _count("completion_tokens", "Completion tokens"): "$usage.completion",
        _count("total_tokens", "Tokens"): "$usage.total",
        _COST: "$cost",
        _count("priced", "Turns with a cost"): counted_if_set("cost"),
    },
    distinct={_count("users", "Users"): "owner_id"},
    percentiles=(_latency("first_token_ms", "First token after"), _latency("total_ms", "Duration")),
    unknown_without={"cost": "priced"},
    joins={"user": OWNER},
    index="summary_v1",
)
