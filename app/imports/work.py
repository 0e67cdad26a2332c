"""What import jobs do: read a file and store what it holds, look at it only, or undo an import."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from bson import ObjectId

from app.imports.errors_file import ErrorsFile
from app.imports.readers import Source
from app.imports.report import ImportReport, Progress
from app.imports.repository import ImportedConversations, ImportRepository
from app.imports.service import ImportOptions, ImportService
from app.imports.streams import UnreadableSource
from app.imports.undo import Guard, Purge, Undoing, UndoReport
from app.jobs.run import Run
from app.kit.errors import Conflict, Invalid
from app.kit.repository import Row
from app.kit.threads import in_thread

SOURCE, ERRORS = "source", "errors"
"""The names of a job's files."""
SHOWN_EVERY_SECONDS = 1.0
BAD_SHOWN = 20


class ImportWork:
    def __init__(
        self, service: ImportService, undoing: Undoing, imported: ImportedConversations, rows: ImportRepository
    ) -> None:
        self.service = service
        self._undoing = undoing
        self._imported = imported
        self._rows = rows
        self.purge: Purge | None = None
        """Removes a conversation with everything that belongs to it: what an undo is forced with."""

    def guard_with(self, guard: Guard) -> None:
        """Ask before anything is removed."""
        self._undoing.guard = guard

    async def __call__(self, run: Run) -> Mapping[str, Any]:
        """Do a job that a server has claimed. Raises ClaimLost, Conflict, Invalid."""
        if run.row["action"] == "undo":
            return await self.undo(run)
        if run.row["origin"] == "command":
            raise Conflict(
                "The command that ran this import has ended before it was done; run it again: what it has added is "
                "left alone."
            )
        try:
            async with _fetched(run) as path:
                options = options_of(run.row)
                return await self.read(run, await in_thread(partial(options.open, path)), options)
        except UnreadableSource as error:
            raise Invalid(str(error)) from error

    async def read(
        self, run: Run, source: Source, options: ImportOptions, progress: Progress = lambda _: None
    ) -> Mapping[str, Any]:
        """Import a file; raises UnreadableSource. Cut short, it begins again and leaves alone what it has added."""
        id: ObjectId = run.claim.id
        before = await self._imported.count_added(id) if run.claim.attempt > 1 else (0, 0)
        errors = await in_thread(ErrorsFile)
        import_id = None if options.dry_run else id
        shown_at = 0.0
        report: ImportReport | None = None
        try:
            steps = self.service.steps(
                source, run.row["owner_id"], options=options, import_id=import_id, errors=errors, before=before
            )
            async with aclosing(steps):
                async for report in steps:
                    progress(report)
                    if time.monotonic() >= shown_at:
                        shown_at = time.monotonic() + SHOWN_EVERY_SECONDS
                        await run.advance(**_counts(report))
            size = await self._store_errors(run, errors)
        finally:
            await in_thread(errors.close)
        return {**(_counts(report) if report else {}), "bytes_read": source.size_bytes, "errors_bytes": size}

    async def undo(self, run: Run, progress: Callable[[UndoReport], None] = lambda _: None) -> Mapping[str, Any]:
        """Undo an import."""
        import_id: ObjectId = run.row["import_id"]
        values: dict[str, Any] = {}
        already = run.row["removed"]  # by attempts that were cut short
        async with aclosing(self._undoing.steps(import_id, self.purge if run.row["force"] else None)) as steps:
            async for report in steps:
                values = {"removed": already + report.removed, "kept": report.kept, "kept_first": report.kept_first}
                await run.advance(**values)
                progress(report)
        told = {"id": run.claim.id, "removed": values["removed"], "kept": values["kept"]}
        await self._rows.note_undone(import_id, told)
        return values

    async def _store_errors(self, run: Run, errors: ErrorsFile) -> int:
        """Keep the file of the bad records with the job; answers its size."""
        await run.files.clear(run.claim.id, ERRORS)
        pieces = errors.pieces()
        offset = 0
        while piece := await in_thread(partial(next, pieces, b"")):
            await run.append(ERRORS, offset, [piece])
            offset += len(piece)
        return offset


def options_of(row: Row) -> ImportOptions:
    """What was asked about the file."""
    return ImportOptions(
        name=row["filename"],
        columns={each["field"]: each["heading"] for each in row["columns"]},
        namespace=row["namespace"],
        expected=row["expected"],
        restore=row["restore"],
        dry_run=row["action"] == "dry_run",
    )


def _counts(report: ImportReport) -> dict[str, Any]:
    return {
        "format": report.format,
        "bytes_read": report.bytes_read,
        "conversations": report.added,
        "messages": report.messages,
        "present": report.present,
        "bad": report.bad_count,
        "bad_first": [{"position": bad.position, "reason": bad.reason} for bad in report.bad[:BAD_SHOWN]],
        "mapping": [{"field": field, "heading": heading} for field, heading in report.columns.items()],
        "preview": report.preview,
    }


@asynccontextmanager
async def _fetched(run: Run) -> AsyncIterator[Path]:
    """The file that came with the job, on disk."""
    file = await in_thread(partial(NamedTemporaryFile, prefix="verbatim-import-"))
    try:
        async with aclosing(run.files.read(run.claim.id, SOURCE, 0, run.row["bytes"])) as chunks:
            async for chunk in chunks:
                await in_thread(partial(file.write, chunk))
        await in_thread(file.flush)
        yield Path(file.name)
    finally:
        await in_thread(file.close)
