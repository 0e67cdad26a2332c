"""The limits of one process, from its settings."""

from dataclasses import dataclass

from app.config import Settings
from app.limits.model import Quota
from app.limits.places import Places
from app.limits.quotas import Quotas
from app.limits.rates import RateLimits
from app.limits.repository import RateRepository, SpendingRepository


@dataclass(frozen=True)
class Limits:
    rates: RateLimits
    quotas: Quotas
    streams: Places

    async def aclose(self) -> None:
        """Store what is counted here only."""
        await self.quotas.aclose()
        await self.rates.aclose()


def build_limits(settings: Settings) -> Limits:
    quota = Quota(
        tokens_per_day=settings.quota_tokens_per_day or None,
        tokens_per_month=settings.quota_tokens_per_month or None,
        cost_per_day=settings.quota_cost_per_day or None,
        cost_per_month=settings.quota_cost_per_month or None,
    )
    return Limits(
        RateLimits(
            RateRepository(), per_user=settings.rate_limit_per_user, per_address=settings.rate_limit_per_address
        ),
        Quotas(SpendingRepository(), quota),
        Places(settings.max_streams_per_user),
    )
