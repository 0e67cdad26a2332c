"""The base of every stored document."""

from datetime import datetime
from typing import Any, ClassVar

from beanie import Document
from beanie.odm.fields import PydanticObjectId
from beanie.odm.utils.dump import get_dict
from pydantic import Field

from app.kit.clock import now
from app.kit.normal_form import stored_forms
from app.kit.windows import with_windows


class StoredDocument(Document):
    """A document with an id, a version that counts its changes from 1, and its times.

    Documents declare what is stored and indexed. They are inserted once and then changed by the repositories with
    conditional updates: `save()` would write all of it, resurrect what was deleted and lose concurrent changes.
    """

    windowed: ClassVar[tuple[str, ...]] = ()
    """Paths of the short texts that are searched through windows, which are stored with each row."""

    normalized: ClassVar[tuple[str, ...]] = ()
    """Paths of the texts that are searched, whose normal forms are stored with each row."""

    id: PydanticObjectId = Field(default_factory=PydanticObjectId, alias="_id")
    version: int = 1
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)

    def to_row(self) -> dict[str, Any]:
        """The row as it is stored, absent values as null, with the windows and the normal forms of its texts."""
        row = with_windows(self.windowed, get_dict(self, to_db=True, keep_nulls=True))
        forms = stored_forms(self.normalized, row)
        return row | {path: form for path, form in forms.items() if form is not None}
