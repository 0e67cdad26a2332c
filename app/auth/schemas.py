"""What clients send and get about API keys."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from app.auth.permissions import PERMISSIONS, Permission
from app.kit.schemas import ID, Input, Instant, Output

_Tokens = Annotated[int, Field(ge=1, le=10**12)]
_Dollars = Annotated[float, Field(gt=0, le=10**9, strict=True, allow_inf_nan=False)]


class KeyQuota(Input):
    """The most that a key may use of language models; the limits of its user hold besides."""

    tokens_per_day: _Tokens | None = None
    tokens_per_month: _Tokens | None = None
    cost_per_day: _Dollars | None = Field(None, description="US dollars")
    cost_per_month: _Dollars | None = Field(None, description="US dollars")


class KeyCreate(Input):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    scopes: Annotated[list[Permission], Field(min_length=1, max_length=len(PERMISSIONS))] | None = Field(
        None,
        description="at most what the credential you use may do, which is the default; the role bounds them too",
    )
    expires_at: Instant | None = None
    quota: KeyQuota | None = Field(None, description="what it may use of language models in a day and a month (UTC)")
    user_id: ID | None = Field(None, description="yourself when left out; admins may name another user")


class KeyRead(Output):
    id: ID
    user_id: ID
    name: str
    scopes: list[Permission]
    prefix: str
    expires_at: datetime | None
    last_used_at: datetime | None
    quota: KeyQuota | None
    created_at: datetime


class KeyCreated(KeyRead):
    key: str | None = Field(description="shown this once; null when the request is replayed")
