"""Export jobs and their schedules as they are stored."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from beanie import PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.jobs.model import Job, job_indexes
from app.kit.documents import StoredDocument
from app.kit.indexes import ordered_by

Every = Literal["daily", "weekly"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class ExportSpec(BaseModel):
    """What is to be exported: as a client has said it, so that it can be shown, and understood again by a later run.

    `filters`: parameters of the list with their texts.
    """

    resource: str
    format: str = "csv"
    filters: dict[str, str] = Field(default_factory=dict)
    columns: list[str] | None = None
    raw: bool = False
    tz: str = "UTC"


class Place(BaseModel):
    """The last row that is in the file: its value in the sort, and its id."""

    value: Any
    id: PydanticObjectId


class ExportJob(Job):
    """`snapshot_at`: rows written from this instant on are not in the file. `since`: the snapshot of the export that
    this one continues. `position` and `bytes` say where the file ends, `rows` how many are in it."""

    resource: str
    format: str
    filters: dict[str, str]
    columns: list[str] | None
    raw: bool
    tz: str = "UTC"
    snapshot_at: datetime
    since: datetime | None = None
    schedule_id: PydanticObjectId | None = None
    due_at: datetime | None = None
    rows: int = 0
    rows_estimate: int | None = None
    rows_per_second: float | None = None
    position: Place | None = None
    bytes: int = 0
    sha256: str | None = None
    filename: str | None = None
    token: str | None = None

    class Settings:
        name = "exports"
        indexes: ClassVar = [
            *job_indexes(),
            IndexModel(
                [("schedule_id", ASCENDING), ("due_at", DESCENDING)],
                name="schedule_v1",
                unique=True,
                partialFilterExpression={"due_at": {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}},
            ),
        ]


class ExportSchedule(StoredDocument):
    """`next_at`: when it is due. `keep`: so many files of it are kept."""

    owner_id: PydanticObjectId
    name: str
    export: ExportSpec
    every: Every
    at: str
    time_zone: str
    weekday: Weekday | None
    keep: int
    incremental: bool
    enabled: bool
    next_at: datetime

    class Settings:
        name = "export_schedules"
        indexes: ClassVar = [
            *ordered_by("created_at", owner="owner_id"),
            IndexModel("next_at", name="due_v1", partialFilterExpression={"enabled": True}),
        ]
