"""Imports as they are stored: what was asked, how far it is, what came of it."""

from typing import Any, ClassVar, Literal

from beanie import PydanticObjectId
from pydantic import BaseModel, Field

from app.imports.formats import Format
from app.jobs.model import Job, job_indexes

Action = Literal["import", "dry_run", "undo"]
ACTIONS: tuple[Action, ...] = ("import", "dry_run", "undo")
Origin = Literal["api", "command"]
ORIGINS: tuple[Origin, ...] = ("api", "command")


class MappedColumn(BaseModel):
    """A column of a table and what it holds."""

    field: str
    heading: str


class KeptConversation(BaseModel):
    """A conversation that an undo has left, because it was changed."""

    id: PydanticObjectId
    title: str


class Undoing(BaseModel):
    """What came of the last undo of an import."""

    id: PydanticObjectId
    removed: int
    kept: int


class ImportJob(Job):
    """One import, one dry run, or one undo of an import. `owner_id`: whose conversations they are.

    `origin`: whether the file came through the API, and lies in the database until the job has ended, or is read by a
    command. `columns` is what was said about a table, `mapping` what was found.
    """

    action: Action = "import"
    origin: Origin = "api"
    filename: str = ""
    bytes: int = 0
    bytes_read: int = 0
    format: Format | None = None
    columns: list[MappedColumn] = Field(default_factory=list)
    mapping: list[MappedColumn] = Field(default_factory=list)
    namespace: str | None = None
    expected: Format | None = None
    restore: bool = False
    conversations: int = 0
    messages: int = 0
    present: int = 0
    bad: int = 0
    bad_first: list[dict[str, Any]] = Field(default_factory=list)
    errors_bytes: int = 0
    preview: list[dict[str, Any]] = Field(default_factory=list)
    undone: Undoing | None = None
    import_id: PydanticObjectId | None = None
    """Of an undo: what it undoes."""
    force: bool = False
    removed: int = 0
    kept: int = 0
    kept_first: list[KeptConversation] = Field(default_factory=list)

    class Settings:
        name = "imports"
        indexes: ClassVar = job_indexes()
