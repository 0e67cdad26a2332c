"""How far a copy of a database is: documents, and bytes a second."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn

from app.backups.reading import Header
from app.backups.saving import Step
from app.cli.running import console


class Meter:
    """`expect` says how many documents there are, about; `report` that some have been dealt with."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None, collection="", documents=0)
        self._documents = 0
        self._bytes = 0
        self._expected = 0

    def expect(self, documents: Mapping[str, int]) -> None:
        self._expected = sum(documents.values())

    def expect_all(self, header: Header) -> None:
        self.expect(header.expected)

    def report(self, step: Step) -> None:
        self._documents += step.documents
        self._bytes += step.bytes
        share = self._documents / self._expected if self._expected else 0
        total = int(self._bytes / share) if share else None  # the bytes are not known before, the documents about
        self._progress.update(
            self._task,
            completed=self._bytes,
            total=max(total or 0, self._bytes),
            collection=step.name,
            documents=self._documents,
        )


@contextmanager
def metered(what: str) -> Iterator[Meter]:
    """A bar on standard error while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[documents]:,} documents"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[collection]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Meter(progress, what)
