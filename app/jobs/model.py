"""Jobs as they are stored, and the pieces of their files."""

from datetime import datetime
from typing import ClassVar, Literal

from beanie import Document, PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from app.conversations.model import Fault
from app.kit.documents import StoredDocument
from app.kit.indexes import found_by, ordered_by

JobState = Literal["queued", "running", "completed", "failed", "cancelled"]
JOB_STATES: tuple[JobState, ...] = ("queued", "running", "completed", "failed", "cancelled")
UNFINISHED: tuple[JobState, ...] = ("queued", "running")


class Job(StoredDocument):
    """What every kind of job has; a kind adds what is asked of it, how far it is, and what came of it.

    `attempt` counts the claims. `setbacks` counts what went wrong since the job last came forward: processes that died
    with it, and databases that were away; `not_before` is when to try again.
    """

    owner_id: PydanticObjectId
    state: JobState = "queued"
    worker: str | None = None
    attempt: int = 0
    setbacks: int = 0
    not_before: datetime | None = None
    error: Fault | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None


def job_indexes() -> list[IndexModel]:
    """The indexes that every kind of job needs: its lists, its queue (by state, in the order of coming), its expiry."""
    return [
        *ordered_by("created_at", owner="owner_id"),
        *found_by("state", owner="owner_id"),
        IndexModel("expires_at", name="expiry_v1"),
    ]


class FileChunk(Document):
    """A piece of a job's file: the bytes from `offset` on. `kind`: of the job."""

    id: PydanticObjectId = Field(default_factory=PydanticObjectId, alias="_id")
    kind: str
    job_id: PydanticObjectId
    name: str
    offset: int
    data: bytes

    class Settings:
        name = "file_chunks"
        indexes: ClassVar = [
            IndexModel(
                [("kind", ASCENDING), ("job_id", ASCENDING), ("name", ASCENDING), ("offset", ASCENDING)],
                name="place_v1",
                unique=True,
            )
        ]
