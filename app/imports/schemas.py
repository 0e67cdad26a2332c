"""What clients get about imports."""

from datetime import datetime

from pydantic import Field

from app.conversations.schemas import FaultRead
from app.imports.formats import Format
from app.imports.model import Action, Origin
from app.jobs.model import JobState
from app.kit.schemas import ID, Output


class MappedColumnRead(Output):
    field: str
    heading: str


class BadRecordRead(Output):
    position: int
    reason: str


class PreviewMessageRead(Output):
    seq: int
    role: str
    content: str = Field(description="long ones are cut")
    model: str | None
    created_at: datetime


class PreviewRead(Output):
    """A conversation as it would be stored."""

    source_id: str
    title: str
    tags: list[str]
    created_at: datetime
    message_count: int
    messages: list[PreviewMessageRead] = Field(description="the first ones")


class UndoneRead(Output):
    id: ID = Field(description="of the undo")
    removed: int
    kept: int


class KeptConversationRead(Output):
    id: ID
    title: str


class ImportRead(Output):
    id: ID
    owner_id: ID = Field(description="whose the conversations are")
    action: Action
    origin: Origin = Field(description="whether a request or a command has begun it")
    state: JobState
    filename: str
    format: Format | None = Field(description="what the file turned out to be")
    bytes: int
    bytes_read: int
    columns: list[MappedColumnRead] = Field(description="what was said about a table")
    mapping: list[MappedColumnRead] = Field(description="the columns that are read")
    expected: Format | None = Field(description="the only format that is read")
    namespace: str | None
    restore: bool
    conversations: int = Field(description="added; of a dry run: that would be")
    messages: int
    present: int = Field(description="conversations that were there already")
    bad: int = Field(description="records that could not be read; all of them are in the file of errors")
    bad_first: list[BadRecordRead]
    errors_bytes: int = Field(description="size of the file of errors")
    preview: list[PreviewRead] = Field(description="of a dry run: the first conversations")
    undone: UndoneRead | None = Field(description="what the last undo did")
    import_id: ID | None = Field(description="of an undo: what it undoes")
    force: bool = Field(description="of an undo: whether what was changed goes as well")
    removed: int
    kept: int = Field(description="of an undo: conversations that stay because they were changed")
    kept_first: list[KeptConversationRead]
    error: FaultRead | None
    version: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="when it is forgotten, and cannot be undone any more")
