"""Imports: conversations from files, each stored whole or not at all, and never twice."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from bson import ObjectId

from app.imports.documents import SHOWN_CONVERSATIONS, Destination, documents_of, preview_of
from app.imports.drafts import fits
from app.imports.errors_file import ErrorsFile
from app.imports.formats import Format
from app.imports.readers import Source, open_source
from app.imports.records import BadRecord, ImportedConversation, Pause, Record
from app.imports.report import ImportReport, Progress
from app.imports.storing import Storing, Wanted, keys_of
from app.imports.streams import UnreadableSource
from app.kit.cancellation import raise_if_cancelled
from app.kit.threads import in_thread

BATCH_CONVERSATIONS = 200
BATCH_TITLE_CHARACTERS = 20_000
"""Each is two index entries; a transaction of more than 100,000 does not end (measured)."""


@dataclass(frozen=True)
class ImportOptions:
    """`name`: what sentences call the file; `columns`: the headings of a table by field; `companions`: further tables
    about the same conversations; `namespace`: keeps source ids apart from those of other places, the format's without.
    `restore`: conversations of our own exports keep their ids and times. `dry_run`: nothing is stored.
    `expected`: the only format that is read."""

    name: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    companions: Sequence[Path] = ()
    namespace: str | None = None
    restore: bool = False
    dry_run: bool = False
    expected: Format | None = None

    def open(self, path: Path) -> Source:
        """Blocks; raises UnreadableSource."""
        source = open_source(path, columns=dict(self.columns), companions=self.companions, name=self.name)
        if self.expected not in (None, source.format):
            raise UnreadableSource(f"{self.name or path.name} is {source.format}, not {self.expected}")
        return source


NO_OPTIONS = ImportOptions()


class ImportService:
    def __init__(self, storing: Storing) -> None:
        self._storing = storing

    async def run(
        self,
        path: Path,
        owner_id: ObjectId,
        progress: Progress = lambda _: None,
        *,
        options: ImportOptions = NO_OPTIONS,
        import_id: ObjectId | None = None,
        errors: ErrorsFile | None = None,
    ) -> ImportReport:
        """Import the file for one owner; raises UnreadableSource when it cannot be read at all.

        It may be interrupted at any point and run again: what is there already is left alone. `errors` gets the bad
        records as they came.
        """
        source = await in_thread(partial(options.open, path))
        steps = self.steps(source, owner_id, options=options, import_id=import_id, errors=errors)
        async with aclosing(steps):
            async for report in steps:
                progress(report)
        return report

    async def steps(
        self,
        source: Source,
        owner_id: ObjectId,
        *,
        options: ImportOptions = NO_OPTIONS,
        import_id: ObjectId | None = None,
        errors: ErrorsFile | None = None,
        before: tuple[int, int] = (0, 0),
    ) -> AsyncGenerator[ImportReport, None]:
        """Import what an opened file holds, with the report after each batch, at least once.

        `before`: how many conversations and messages the same import had added when it was cut short.
        """
        run = _Run(self._storing, source, Destination(owner_id, import_id, options.restore), options, errors)
        run.report.added, run.report.messages = before
        records = iter(source)
        noted = errors.noting(records) if errors else records
        try:
            while batch := await in_thread(partial(_take, noted)):
                await run.store(batch)
                yield run.report
                raise_if_cancelled()
        finally:
            await in_thread(records.close)
        if not run.report.bytes_read:  # there was nothing in it
            run.report.bytes_read = source.bytes_read
            yield run.report


class _Run:
    """One import at work."""

    def __init__(
        self,
        storing: Storing,
        source: Source,
        destination: Destination,
        options: ImportOptions,
        errors: ErrorsFile | None,
    ) -> None:
        self.report = ImportReport(source.format, source.size_bytes)
        self._storing = storing
        self._source = source
        self._destination = destination
        self._options = options
        self._errors = errors
        self._seen: set[int] = set()
        """Hashes of the source ids that a dry run would have added."""

    async def store(self, batch: Sequence[Record | Pause]) -> None:
        report = self.report
        records = []
        for record in batch:
            if isinstance(record, BadRecord):
                report.note_bad(record)
            elif isinstance(record, ImportedConversation):
                records.append(record)
        wanted = keys_of(records, self._options.namespace or report.format)
        refused = await self._refuse(wanted) if self._destination.restore and wanted else 0
        added = await (self._look(wanted) if self._options.dry_run else self._storing.add(self._destination, wanted))
        report.seen += len(records) - refused
        report.added += len(added)
        report.messages += sum(len(record.messages) for record in added.values())
        report.bytes_read = self._source.bytes_read
        report.columns = self._source.columns

    async def _refuse(self, wanted: Wanted) -> int:
        """Take those out that cannot be restored, and tell why; answers how many."""
        missing = await self._storing.missing(self._destination, wanted)
        refused = await self._storing.refused(self._destination, missing)
        for key, reason in refused.items():
            record = BadRecord(wanted.pop(key).position, reason)
            self.report.note_bad(record)
            if self._errors:
                await in_thread(partial(self._errors.add, record))
        return len(refused)

    async def _look(self, wanted: Wanted) -> Wanted:
        """What would be added."""
        missing = await self._storing.missing(self._destination, wanted) if wanted else {}
        new = {key: record for key, record in missing.items() if hash(key) not in self._seen}
        self._seen.update(hash(key) for key in new)
        for key, record in new.items():
            if len(self.report.preview) >= SHOWN_CONVERSATIONS:
                break
            self.report.preview.append(preview_of(record, *documents_of(self._destination, key, record)))
        return new


def _take(records: Iterator[Record | Pause]) -> list[Record | Pause]:
    """The next batch, up to a pause: as much as one transaction holds, and the conversation that is too much for it."""
    batch: list[Record | Pause] = []
    messages = characters = titles = 0
    for record in islice(records, BATCH_CONVERSATIONS):
        batch.append(record)
        if isinstance(record, ImportedConversation):
            messages += len(record.messages)
            characters += record.characters
            titles += len(record.title)
        if isinstance(record, Pause) or not fits(messages, characters) or titles > BATCH_TITLE_CHARACTERS:
            break
    return batch
