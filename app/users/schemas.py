"""What clients send and get about users."""

from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from app.kit.schemas import ID, Email, Input, Output
from app.kit.security import MAX_PASSWORD_CHARACTERS
from app.kit.zones import check_time_zone
from app.users.model import Role


def _birth_date(value: str) -> str:
    return date.fromisoformat(value).isoformat()


BirthDate = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    AfterValidator(_birth_date),
    Field(json_schema_extra={"format": "date"}),
]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(check_time_zone)]
Locale = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}$")]
Phone = Annotated[str, StringConstraints(pattern=r"^[+0-9][0-9 ()./x-]{1,40}$")]
Line = Annotated[str, StringConstraints(max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Password = Annotated[SecretStr, Field(min_length=8, max_length=MAX_PASSWORD_CHARACTERS)]


class AddressInput(Input):
    street: Line | None = None
    city: Line | None = None
    zipcode: Line | None = None
    country: Line | None = None


class ProfileInput(Input):
    """A profile; what is left out is empty."""

    bio: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    birth_date: BirthDate | None = None
    age: Annotated[int, Field(ge=0, le=150)] | None = None
    phone: Phone | None = None
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    addresses: Annotated[list[AddressInput], Field(max_length=20)] = Field(default_factory=list)


class MeUpdate(Input):
    """What people may change about themselves."""

    email: Email
    name: Name
    profile: ProfileInput = Field(default_factory=ProfileInput)
    password: Password | None = Field(None, description="kept as it is when left out, removed by null")


class UserUpdate(MeUpdate):
    """A whole user, as PUT replaces it."""

    role: Role = "user"
    disabled: bool = False


class UserCreate(UserUpdate):
    """A new user."""


class AddressRead(Output):
    street: str | None
    city: str | None
    zipcode: str | None
    country: str | None


class ProfileRead(Output):
    bio: str | None
    birth_date: str | None
    age: int | None
    phone: str | None
    locale: str | None
    time_zone: str | None
    addresses: list[AddressRead]


class UserRead(Output):
    id: ID
    email: str
    name: str
    role: Role
    disabled: bool
    profile: ProfileRead
    version: int
    created_at: datetime
    updated_at: datetime
