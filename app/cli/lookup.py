"""Finding users by the names people know."""

from bson import ObjectId

from app.kit.errors import NotFound
from app.services import Services


async def user_id_of(services: Services, email: str) -> ObjectId:
    """The id of the user with this e-mail; raises NotFound."""
    row = await services.users.rows.find_by_email(email.casefold())
    if row is None:
        raise NotFound(f"There is no user {email}; see: verbatim user list")
    id: ObjectId = row["_id"]
    return id
