"""Settings: every variable the server reads, typed, described and with its default.

Read from the environment (`VERBATIM_<NAME>`) and from `.env` in the working folder; `.env.example` lists them all.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024


class ProviderSettings(BaseModel):
    """One upstream: `{"kind": "openai_compatible", "base_url": "https://...", "api_key": "..."}`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["openai_compatible"] = "openai_compatible"
    base_url: str = Field(pattern=r"^https?://[^\s]+$", description="up to and including /v1")
    api_key: SecretStr | None = None
    connect_timeout: float = Field(5, gt=0, description="seconds to open a connection")
    first_token_timeout: float = Field(60, gt=0, description="seconds until the first byte of the answer")
    idle_timeout: float = Field(30, gt=0, description="seconds between two pieces of the answer")
    total_timeout: float = Field(540, gt=0, description="seconds for the whole answer")


class Settings(BaseSettings):
    """The server's settings; times are in seconds and sizes in bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="VERBATIM_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = Field(
        "development", description="production refuses unsafe values at start"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    data: Path = Field(Path("data"), description="folder of the embedded MongoDB and of the first admin key")
    mongo_uri: SecretStr | None = Field(None, description="an existing replica set instead of the embedded MongoDB")
    database: str = Field("verbatim", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="name of the database")
    mongod: Path | None = Field(None, description="path of the mongod to embed instead of the one that is found")
    bootstrap_key: SecretStr | None = Field(None, description="this value becomes an API key of the first admin")

    llm_providers: dict[str, ProviderSettings] = Field(
        default_factory=dict, description="JSON: upstreams by name; models are then called name:model"
    )
    default_model: str = Field("echo", min_length=1, description="model of conversations that name none")
    history_max_messages: int = Field(1000, ge=1, description="newest messages of the history sent to the model")
    history_max_tokens: int = Field(100_000, ge=1, description="estimated tokens of the history sent to the model")

    max_body_bytes: int = Field(8 * MEBIBYTE, ge=1024, description="largest request body")
    max_message_bytes: int = Field(MEBIBYTE, ge=1, le=MEBIBYTE, description="largest content of one message, as UTF-8")
    drain_timeout: float = Field(20, ge=0, description="seconds that running requests and turns get at shutdown")
    turn_lease: float = Field(
        15, ge=1, le=600, description="seconds of silence after which a process counts as dead and its turns are ended"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line to log")
    log_format: Literal["console", "json"] = Field("console", description="for people, or for machines")
    docs: bool = Field(True, description="serve /docs and /openapi.json")

    @field_validator("bootstrap_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("may hold only printable ASCII characters without spaces, to be sent in a header")
        return key

    @field_validator("data", "mongod")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser()

    @field_validator("llm_providers")
    @classmethod
    def _provider_names(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name in providers:
            if not name or ":" in name or name == "echo":
                raise ValueError(f"{name!r} cannot name a provider: it must not be empty, contain ':' or be 'echo'")
        return providers

    @model_validator(mode="after")
    def _safe_in_production(self) -> "Settings":
        key = self.bootstrap_key
        if self.environment == "production" and key is not None and len(key.get_secret_value()) < 32:
            raise ValueError("VERBATIM_BOOTSTRAP_KEY needs at least 32 characters in production")
        return self
