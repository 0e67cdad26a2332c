"""Files of jobs: pieces in the database, appended by their job's claim and read from any place on.

A piece is appended in the transaction that says how far the job is, so that the file never knows more or less than its
job: work that was cut off goes on at the file's end. Not GridFS, whose chunks are all of one length: the last one would
have to be rewritten with every slice, and nothing would keep two processes from doing so.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pymongo
from bson import ObjectId
from pymongo.asynchronous.collection import AsyncCollection

from app.jobs.model import FileChunk
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session

PIECE_BYTES = 1 << 20
"""No piece is longer, so that a reader holds little, and a document stays far from its limit."""
_AT_ONCE = 8
_STRAY_AFTER = timedelta(hours=1)
"""A file may be stored before its job is; after so long nobody is about to make one."""


class FileGone(Exception):
    """The file was removed while it was read."""


class JobFiles:
    """The files of one kind of jobs. A job may have several, each under a name."""

    def __init__(self, kind: str) -> None:
        """`kind`: a server never touches files of kinds that it does not know, such as those of a newer version."""
        self._kind = kind

    async def append(self, job_id: ObjectId, name: str, offset: int, pieces: Iterable[bytes]) -> int:
        """Store bytes at the end of a file, which is at `offset`; answers the new end. A DuplicateKeyError says that
        it was not the end."""
        for piece in _cut(pieces):
            chunk = {"_id": ObjectId(), **self._file(job_id, name), "offset": offset, "data": piece}
            with pymongo.timeout(WRITE_SECONDS):
                await self._chunks.insert_one(chunk, session=current_session())
            offset += len(piece)
        return offset

    async def read(self, job_id: ObjectId, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end`. Raises FileGone where they are not there (any more)."""
        while start < end:
            chunks = await self._from(job_id, name, start)
            for chunk in chunks:
                data: bytes = chunk["data"]
                if not chunk["offset"] <= start < chunk["offset"] + len(data):
                    raise FileGone
                piece = data[start - chunk["offset"] : end - chunk["offset"]]
                yield piece
                start += len(piece)
                if start == end:
                    return
            if not chunks:
                raise FileGone

    async def clear(self, job_id: ObjectId, name: str | None = None) -> None:
        """Remove a file, or all of a job's."""
        condition = {"kind": self._kind, "job_id": job_id} if name is None else self._file(job_id, name)
        with pymongo.timeout(WRITE_SECONDS):
            await self._chunks.delete_many(condition, session=current_session())

    async def owners(self) -> list[ObjectId]:
        """The jobs that have files and were made long enough ago to be stored themselves."""
        before = ObjectId.from_datetime(now() - _STRAY_AFTER)
        with pymongo.timeout(READ_SECONDS):
            return list(await self._chunks.distinct("job_id", {"kind": self._kind, "job_id": {"$lt": before}}))

    async def _from(self, job_id: ObjectId, name: str, start: int) -> list[Row]:
        """The piece that holds a place, and some behind it."""
        file = self._file(job_id, name)
        with pymongo.timeout(READ_SECONDS):
            holding = await self._chunks.find_one(
                {**file, "offset": {"$lte": start}}, {"offset": 1}, sort=[("offset", -1)]
            )
            if holding is None:
                return []
            return await self._chunks.find(
                {**file, "offset": {"$gte": holding["offset"]}}, sort=[("offset", 1)], limit=_AT_ONCE
            ).to_list()

    def _file(self, job_id: ObjectId, name: str) -> dict[str, Any]:
        return {"kind": self._kind, "job_id": job_id, "name": name}

    @property
    def _chunks(self) -> AsyncCollection[Row]:
        return FileChunk.get_pymongo_collection()


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are neither empty nor too long."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_BYTES):
            yield piece[start : start + PIECE_BYTES]
