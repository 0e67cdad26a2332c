"""What the routes of every kind of job share: how one is accepted and followed, and how its files are sent."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from bson import ObjectId
from fastapi import Depends, Query
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from app.api.deps import DrainDep, IdPath, IfNoneMatch
from app.jobs.service import Jobs
from app.kit.repository import Row, Scope
from app.kit.resource import Resource
from app.kit.responses import JSON, found, path_of
from app.kit.streaming import Drain

MAX_WAIT_SECONDS = 60


def accepted(resource: Resource, row: Row) -> Response:
    """202 with a new job, and where to follow it."""
    return JSON(resource.render(row), status_code=202, headers={"Location": path_of(resource.name, row["_id"])})


@dataclass(frozen=True)
class Following:
    """Somebody asks how far a job is, and may wait for its end."""

    id: ObjectId
    wait: float
    drain: Drain
    if_none_match: str | None

    async def answer(self, jobs: Jobs[Any], scope: Scope) -> Response:
        """200 with the job, or 304. Raises NotFound."""
        row = await jobs.ended(scope, self.id, self.wait, self.drain)
        return found(jobs.rows.resource, row, if_none_match=self.if_none_match)


async def _following(
    id: IdPath,
    drain: DrainDep,
    wait: Annotated[
        float,
        Query(ge=0, le=MAX_WAIT_SECONDS, description="Answer when it is over, at the latest after so many seconds"),
    ] = 0,
    if_none_match: IfNoneMatch = None,
) -> Following:
    return Following(id, wait, drain, if_none_match)


FollowingDep = Annotated[Following, Depends(_following)]


class StoredFileResponse(StreamingResponse):
    """Sends what is stored of a job; what goes wrong in the middle breaks the connection off, short of its
    Content-Length."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        length: int,
        media_type: str,
        headers: Mapping[str, str],
        status: int = 200,
    ) -> None:
        told = {"Cache-Control": "private, no-cache", **headers, "Content-Length": str(length)}
        super().__init__(chunks, status, headers=told, media_type=media_type)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().stream_response(send)
