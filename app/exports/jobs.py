"""Exports as jobs: asking for one, and what is told about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from app.auth.principal import Principal
from app.exports.model import ExportJob, ExportSpec
from app.exports.repository import ExportRepository
from app.exports.service import Sources
from app.exports.tables import require_export
from app.exports.wanted import understood
from app.exports.writing import FILE, ExportLimits, ExportWriting
from app.jobs.service import Jobs
from app.kit import metrics
from app.kit.clock import now
from app.kit.errors import Conflict, FieldError, InvalidCursor, TooManyJobs
from app.kit.paging import Cursors, Position
from app.kit.repository import Row, Scope
from app.users.repository import UserRepository


@dataclass(frozen=True)
class ExportQuota:
    """What one user may have: `jobs` unfinished at the same time, `bytes` of files."""

    jobs: int
    bytes: int


class ExportJobs:
    """Export jobs of all users. `jobs` runs, cancels and removes them."""

    def __init__(
        self, jobs: Jobs[ExportJob], rows: ExportRepository, users: UserRepository, cursors: Cursors, quota: ExportQuota
    ) -> None:
        self.jobs = jobs
        self.rows = rows
        self._users = users
        self._cursors = cursors
        self._quota = quota
        jobs.endings.after_end(self._drop_part)
        jobs.endings.after_end(_count)

    def open(self, sources: Sources, *, slice_rows: int) -> None:
        """Begin to run jobs. `sources`: the repositories of what is exported."""
        limits = ExportLimits(slice_rows, self._quota.bytes)
        self.jobs.open(ExportWriting(sources, self._users, self.rows, limits, self._token_of))

    async def create(self, principal: Principal, spec: ExportSpec, token: str | None = None) -> Row:
        """Store a job of what is there now. `token`: of the export that this one continues.

        Raises Forbidden, Invalid, TooManyJobs, and Conflict when there is no room for another file.
        """
        require_export(principal, spec.resource)
        owner_id, snapshot_at = principal.user_id, next_second(now())
        since, faults = self._since(owner_id, spec, token)
        understood(spec, snapshot_at, since, faults=faults)
        if await self.rows.count_unfinished(owner_id) >= self._quota.jobs:
            raise TooManyJobs(f"{self._quota.jobs} of your exports are unfinished; wait for one to end, or cancel it.")
        if await self.rows.kept_bytes(owner_id) >= self._quota.bytes:
            raise Conflict(
                f"Your exports take the {self._quota.bytes} bytes that they may; delete some.", reason="export_space"
            )
        return await self.add(owner_id, spec, snapshot_at, since)

    async def add(
        self, owner_id: ObjectId, spec: ExportSpec, snapshot_at: datetime, since: datetime | None, **origin: Any
    ) -> Row:
        """Store a job without asking whether it may be. `origin`: the schedule it comes from."""
        job = ExportJob(owner_id=owner_id, **spec.model_dump(), snapshot_at=snapshot_at, since=since, **origin)
        return await self.rows.insert(job)

    async def completed(self, scope: Scope, id: ObjectId) -> Row:
        """A job with its file. Raises NotFound, and Conflict while there is none."""
        row = await self.rows.get(scope, id)
        if row["state"] != "completed":
            raise Conflict(f"This export is {row['state']}: it has no file.", reason="not_completed")
        return row

    def _since(
        self, owner_id: ObjectId, spec: ExportSpec, token: str | None
    ) -> tuple[datetime | None, list[FieldError]]:
        """The snapshot that the token stands for, and what is wrong with it."""
        if token is None:
            return None, []
        try:
            position = self._cursors.decode(_fingerprint(owner_id, spec.resource, spec.filters), token)
        except InvalidCursor:
            sentence = "is not the token of an export of yours of the same resource with the same filters"
            return None, [FieldError("query.since", sentence)]
        return position.value, []

    def _token_of(self, row: Row) -> str:
        fingerprint = _fingerprint(row["owner_id"], row["resource"], row["filters"])
        return self._cursors.encode(fingerprint, Position(row["snapshot_at"], row["_id"]))

    async def _drop_part(self, row: Row) -> None:
        """Remove what there is of a file that will not be whole."""
        if row["state"] != "completed":
            await self.jobs.files.clear(row["_id"], FILE)


def next_second(instant: datetime) -> datetime:
    """The snapshot of what is there at an instant: ids tell the second in which a row was written, and not more."""
    return instant.replace(microsecond=0) + timedelta(seconds=1)


def _fingerprint(owner_id: ObjectId, resource: str, filters: Mapping[str, str]) -> bytes:
    rows = {name: text for name, text in filters.items() if name != "sort"}
    return repr(("export", owner_id, resource, sorted(rows.items()))).encode()


async def _count(row: Row) -> None:
    metrics.exports.labels(row["format"], row["state"]).inc()
    metrics.export_bytes.labels(row["format"]).inc(row["bytes"])
