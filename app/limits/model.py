"""Counts that all processes share, as they are stored."""

from datetime import datetime
from typing import ClassVar

from beanie import Document
from pydantic import BaseModel, ConfigDict, Field
from pymongo import IndexModel


class RateCount(Document):
    """Requests of one user, or from one address, in one minute: `_id` is `<whose>@<number of the minute>`."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    requests: int
    expires_at: datetime

    class Settings:
        name = "rate_counts"
        indexes: ClassVar = [IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0)]


class Spending(Document):
    """What one user, or one key, has used in a day or a month: `_id` is `<whose>@<period>`."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    turns: int
    tokens: int
    cost: float
    expires_at: datetime

    class Settings:
        name = "spending"
        indexes: ClassVar = [IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0)]


class Quota(BaseModel):
    """The most that may be used in a day and in a month (UTC); None: no limit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    cost_per_day: float | None = None
    cost_per_month: float | None = None
