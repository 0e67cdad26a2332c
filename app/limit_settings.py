"""Settings of how much one may ask for: requests, streams, and what models cost. 0: as much as they like."""

from pydantic import Field
from pydantic_settings import BaseSettings


class LimitSettings(BaseSettings):
    rate_limit_per_user: int = Field(6000, ge=0, description="requests of one user in a minute; 0: no limit")
    rate_limit_per_address: int = Field(
        12_000, ge=0, description="requests from one address (IPv6: network) in a minute; 0: no limit"
    )
    max_streams_per_user: int = Field(100, ge=1, description="streams of events of one user open at this server")
    quota_tokens_per_day: int = Field(0, ge=0, description="tokens of one user in a day (UTC); 0: no limit")
    quota_tokens_per_month: int = Field(0, ge=0, description="tokens of one user in a month (UTC); 0: no limit")
    quota_cost_per_day: float = Field(0, ge=0, description="US dollars of one user in a day (UTC); 0: no limit")
    quota_cost_per_month: float = Field(0, ge=0, description="US dollars of one user in a month (UTC); 0: no limit")
