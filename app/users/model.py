"""Users as they are stored, each with a profile."""

from typing import ClassVar, Literal

from beanie import PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.kit.documents import StoredDocument
from app.kit.indexes import PRESENT, found_by
from app.kit.windows import window_indexes

Role = Literal["user", "analyst", "admin"]
ROLES: tuple[Role, ...] = ("user", "analyst", "admin")


class Address(BaseModel):
    street: str | None = None
    city: str | None = None
    zipcode: str | None = None
    country: str | None = None


class Profile(BaseModel):
    bio: str | None = None
    birth_date: str | None = None
    age: int | None = None
    phone: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    addresses: list[Address] = Field(default_factory=list)


class User(StoredDocument):
    windowed: ClassVar = ("email", "name")
    normalized: ClassVar = windowed

    email: str
    name: str
    role: Role = "user"
    disabled: bool = False
    password_hash: str | None = None
    epoch: int = 0
    """Counts the changes of the password: sessions that began before the last one are over."""
    external_id: str | None = None
    """Who this is for an external issuer: its name and its subject, tied once and for all."""
    profile: Profile = Field(default_factory=Profile)
    hold_id: PydanticObjectId | None = None
    """The legal hold this user is under: then neither they nor their conversations are removed."""
    admin_lock: PydanticObjectId | None = None
    """Changes when another admin goes because this one stays, so that both cannot go at the same time."""

    class Settings:
        name = "users"
        indexes: ClassVar = [
            IndexModel("email", name="email_v1", unique=True),
            IndexModel(
                "external_id",
                name="external_id_v1",
                unique=True,
                partialFilterExpression={"external_id": {"$type": "string"}},
            ),
            IndexModel([("name", ASCENDING), ("_id", ASCENDING)], name="name_v1"),
            IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="created_v1"),
            IndexModel([("updated_at", DESCENDING), ("_id", DESCENDING)], name="updated_v1"),
            *found_by("role", "profile.age"),
            *found_by("disabled", only={"$eq": True}),
            *found_by("profile.birth_date", "profile.phone", "profile.locale", "profile.time_zone", only=PRESENT),
            *window_indexes(),
        ]
