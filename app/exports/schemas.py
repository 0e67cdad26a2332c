"""What clients send and get about export jobs and their schedules."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.conversations.schemas import FaultRead
from app.exports.model import Every, ExportSpec, Weekday
from app.exports.tables import TABLES
from app.jobs.model import JobState
from app.kit.export import FORMATS
from app.kit.schemas import ID, Input, Output
from app.kit.zones import check_time_zone

MAX_FILTERS = 50

FilterName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
FilterValue = Annotated[str, StringConstraints(max_length=10_000)] | bool | int | float
ZoneName = Annotated[str, StringConstraints(max_length=64), AfterValidator(check_time_zone)]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class ExportInput(Input):
    """What is to be exported."""

    resource: str = Field(json_schema_extra={"enum": list(TABLES)})
    format: str = Field("csv", json_schema_extra={"enum": list(FORMATS)})
    filters: Annotated[dict[FilterName, FilterValue], Field(max_length=MAX_FILTERS)] = Field(
        default_factory=dict, description="the list's parameters, such as role, created_at__gte, q or sort"
    )
    columns: Annotated[list[ColumnName], Field(min_length=1, max_length=200)] | None = Field(
        None, description="these, in this order; all without"
    )
    raw: bool = Field(False, description="CSV for programs: no byte order mark, no guard against formulas")
    tz: Annotated[str, StringConstraints(max_length=64)] = Field(
        "UTC", description="the time zone in which instants are shown; JSON Lines are always UTC"
    )

    @property
    def spec(self) -> ExportSpec:
        filters = {name: _text(value) for name, value in self.filters.items()}
        return ExportSpec(**{**self.model_dump(include=set(ExportSpec.model_fields)), "filters": filters})


class ExportCreate(ExportInput):
    since: Annotated[str, StringConstraints(max_length=1000)] | None = Field(
        None, description="the token of an earlier export: only what was created or changed since"
    )


class ExportRead(Output):
    id: ID
    owner_id: ID
    resource: str
    format: str
    filters: dict[str, str]
    columns: list[str] | None
    raw: bool
    tz: str
    state: JobState
    rows: int = Field(description="in the file so far")
    rows_estimate: int | None = Field(description="how many it will be; null when that is hard to say")
    rows_per_second: float | None
    bytes: int
    sha256: str | None = Field(description="of the whole file, once it is completed")
    filename: str | None
    token: str | None = Field(description="`since` of the next export, to get only what changes until then")
    error: FaultRead | None
    schedule_id: ID | None
    since: datetime | None = Field(description="the snapshot of the export that this one continues")
    snapshot_at: datetime = Field(description="rows written from this instant on are not in the file")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="when the export and its file are removed")
    file: str | None = Field(description="where the file is, once it is completed")


class ExportEvent(Output):
    """An export is ready, or has failed."""

    type: Literal["export.completed", "export.failed"]
    timestamp: datetime
    data: ExportRead


class ManifestRead(Output):
    export_id: ID
    resource: str
    format: str
    filters: dict[str, str]
    columns: list[str] | None
    raw: bool
    tz: str
    filename: str
    rows: int
    bytes: int
    sha256: str
    token: str
    since: datetime | None
    snapshot_at: datetime
    created_at: datetime
    started_at: datetime
    finished_at: datetime
    version: str = Field(description="of Verbatim")
    contents: str = Field(description="which rows are in the file, in words")


class ScheduleInput(Input):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    export: ExportInput
    every: Every = "daily"
    at: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = Field(
        "06:00", description="the time of day, in the time zone"
    )
    time_zone: ZoneName = "UTC"
    weekday: Weekday | None = Field(None, description="of weekly ones")
    keep: int = Field(7, ge=1, le=100, description="so many of its files are kept, the newest ones")
    incremental: bool = Field(False, description="only what has changed since its last export")
    enabled: bool = True

    @model_validator(mode="after")
    def _weekday_of_weekly(self) -> "ScheduleInput":
        if (self.weekday is None) == (self.every == "weekly"):
            raise ValueError("weekday: name one with every=weekly, and none with every=daily")
        return self


class ScheduleRead(Output):
    id: ID
    owner_id: ID
    name: str
    export: dict[str, Any]
    every: Every
    at: str
    time_zone: str
    weekday: Weekday | None
    keep: int
    incremental: bool
    enabled: bool
    next_at: datetime = Field(description="when it is due next")
    version: int
    created_at: datetime
    updated_at: datetime


def _text(value: str | bool | float) -> str:
    """A filter's value as a query string has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
