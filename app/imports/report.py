"""What an import did so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.imports.formats import Format
from app.imports.records import BadRecord

BAD_KEPT = 1000
"""Bad records beyond this are counted but not kept."""


@dataclass
class ImportReport:
    """Sizes are those of the file as it is stored. Of a dry run `added` and `messages` are what would be."""

    format: Format
    size_bytes: int
    bytes_read: int = 0
    added: int = 0
    messages: int = 0
    seen: int = 0
    """Conversations of the file that can be imported; of several with one source id the first is."""
    bad: list[BadRecord] = field(default_factory=list)
    bad_count: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    """The heading of each field, where the file is a table."""
    preview: list[dict[str, Any]] = field(default_factory=list)
    """The first conversations as they would be stored, of a dry run."""

    @property
    def present(self) -> int:
        """Conversations that were there already, by their source id."""
        return max(self.seen - self.added, 0)

    def note_bad(self, record: BadRecord) -> None:
        self.bad_count += 1
        if len(self.bad) < BAD_KEPT:
            self.bad.append(record)


Progress = Callable[[ImportReport], None]
