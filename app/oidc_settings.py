"""Settings of an external issuer whose tokens count here (OpenID Connect)."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Only those with a public key: an issuer's key must never verify what it could not have signed."""
IssuedRole = Literal["user", "analyst", "admin"]


class OidcSettings(BaseModel):
    """One issuer: `{"issuer": "https://...", "audience": "verbatim"}` is enough for people who are known here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(description="as its tokens name it, to the letter")
    audience: str = Field(min_length=1, description="whom its tokens have to be for")
    jwks_url: str | None = Field(None, description="its keys; default: what its discovery document names")
    algorithms: list[Algorithm] = Field(["RS256"], min_length=1, description="that its keys may sign with")
    role_claim: str | None = Field(None, description="claim that holds roles or groups; dots lead into objects")
    roles: dict[str, IssuedRole] = Field(default_factory=dict, description="values of that claim and the role of each")
    default_role: IssuedRole | None = Field(None, description="of who has none of these; default: refused")
    provision: bool = Field(False, description="make a user of who is not known yet")
    refetch_seconds: float = Field(30, ge=1, description="at least between two fetches of the keys")
    timeout: float = Field(5, gt=0, le=30, description="seconds for one fetch")

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _safe_address(cls, url: str | None) -> str | None:
        if url is not None:
            check_address(url)
        return url

    @model_validator(mode="after")
    def _complete(self) -> "OidcSettings":
        if (self.role_claim is None) != (not self.roles):
            raise ValueError("role_claim and roles need each other")
        return self


def check_address(url: str) -> None:
    """Keys that come unprotected could be anybody's, unless from this machine. Raises ValueError."""
    parts = urlsplit(url)
    is_local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError(f"{url!r} is no address that begins with https://")
    if not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError(f"{url!r} is no plain address")
