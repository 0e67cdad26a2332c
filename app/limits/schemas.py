"""What clients get about what they have used."""

from datetime import datetime

from pydantic import Field

from app.kit.schemas import Output


class PeriodUsage(Output):
    begins_at: datetime
    ends_at: datetime
    turns: int
    tokens: int
    cost: float = Field(description="US dollars, of models that have a price")
    tokens_limit: int | None
    cost_limit: float | None


class Usage(Output):
    day: PeriodUsage
    month: PeriodUsage


class UsageOfMe(Output):
    user: Usage
    key: Usage | None = Field(description="null when you come with no key")
