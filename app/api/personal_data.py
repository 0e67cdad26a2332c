"""/api/users/{id}/data: everything that is stored of a person, for themselves and for admins."""

from contextlib import aclosing
from typing import Annotated

from bson import ObjectId
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from app.api.deps import IdPath, ServicesDep, permitted
from app.audit.trail import record
from app.auth.principal import Principal
from app.kit.problems import problem_responses
from app.kit.repository import EVERYTHING, Scope
from app.kit.routing import router
from app.services import Services

_FILE = {
    "description": "A zip of JSON Lines, one file a collection, and manifest.json",
    "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
}
routes: APIRouter = router("/users", "users", responses=problem_responses(401, 403, 404, 422, 503))
Exporter = Annotated[Principal, permitted("users:export")]


@routes.get("/{id}/data", response_class=Response, responses={200: _FILE})
async def read_personal_data(id: IdPath, principal: Exporter, services: ServicesDep) -> Response:
    """All of a user's data as a file: your own; admins may name anybody."""
    scope = EVERYTHING if principal.is_admin else Scope({"_id": principal.user_id})
    await services.users.rows.get(scope, id, fields=("id",))
    await record("user.data-exported", "users", id, subject_id=id)
    return _ArchiveResponse(services, id)


class _ArchiveResponse(StreamingResponse):
    """Sends the archive as it is made; what goes wrong on the way breaks the connection off."""

    def __init__(self, services: Services, user_id: ObjectId) -> None:
        self._chunks = services.privacy.data.of(user_id)
        headers = {
            "Content-Disposition": f'attachment; filename="verbatim-data-{user_id}.zip"',
            "Cache-Control": "no-store",
        }
        super().__init__(self._chunks, headers=headers, media_type="application/zip")

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().stream_response(send)
