"""Settings: every variable the server reads, typed, described and with its default.

Read from the environment (`VERBATIM_<NAME>`) and from `.env` in the working folder; `.env.example` lists them all.
"""

import re
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.oidc_settings import OidcSettings

MEBIBYTE = 1024 * 1024


ProviderKind = Literal[
    "openai_compatible",
    "openai",
    "azure",
    "anthropic",
    "google",
    "deepseek",
    "qwen",
    "zhipu",
    "qianfan",
    "moonshot",
    "mistral",
    "groq",
    "openrouter",
    "ollama",
    "vllm",
    "lmstudio",
]
KINDS: tuple[str, ...] = get_args(ProviderKind)
KINDS_WITHOUT_ADDRESS: tuple[ProviderKind, ...] = ("openai_compatible", "azure")
"""Kinds whose `base_url` cannot be known beforehand."""

Parameter = Literal[
    "temperature",
    "top_p",
    "max_tokens",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "stream_options",
]


TextLanguage = Literal[
    "none",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]


class ProviderSettings(BaseModel):
    """One upstream: `{"api_key": "..."}` under a known name, or `{"base_url": "https://.../v1", "api_key": "..."}`."""

    model_config = ConfigDict(extra="forbid")

    kind: ProviderKind | None = Field(None, description="default: the upstream's name when it is a kind's")
    base_url: str | None = Field(None, description="up to and including /v1; default: the kind's own")
    api_key: SecretStr | None = None
    parameters: dict[Parameter, str | None] = Field(
        default_factory=dict, description="what a parameter is called there; null: it is not sent"
    )
    connect_timeout: float = Field(5, gt=0, description="seconds to open a connection")
    first_token_timeout: float = Field(60, gt=0, description="seconds until the first token, for each attempt")
    idle_timeout: float = Field(30, gt=0, description="seconds between two pieces of the answer")
    total_timeout: float = Field(540, gt=0, description="seconds for the whole answer, all attempts included")
    max_retries: int = Field(2, ge=0, le=20, description="further attempts while no token has come")
    retry_backoff: float = Field(0.5, ge=0, description="seconds before the first retry, at most; doubles each time")
    max_retry_wait: float = Field(20, ge=0, description="seconds; who is told to wait longer gives up at once")
    breaker_failures: int = Field(5, ge=1, description="failures in a row after which the upstream is left alone")
    breaker_cooldown: float = Field(30, ge=0, description="seconds for which it is left alone")
    max_concurrency: int = Field(1000, ge=1, description="calls at the same time")
    max_queue: int = Field(1000, ge=0, description="calls that may wait for their turn")
    queue_timeout: float = Field(60, gt=0, description="seconds that a call may wait for its turn")

    @field_validator("base_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and not _is_address(url):
            raise ValueError("must be an address such as https://host:port/v1")
        return url

    def kind_of(self, name: str) -> ProviderKind:
        """The kind that was given, else the one that has the upstream's name."""
        return self.kind or (cast("ProviderKind", name) if name in KINDS else "openai_compatible")


class Price(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


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

    access_token_minutes: int = Field(15, ge=1, le=1440, description="minutes that an access token counts")
    session_days: int = Field(30, ge=1, le=365, description="days after which people have to sign in again")
    refresh_leeway: float = Field(
        10, ge=0, le=60, description="seconds in which a used refresh token may come again from a lost answer"
    )
    signing_key_days: int = Field(30, ge=1, le=3650, description="days after which access tokens get a new key")
    token_secret: SecretStr | None = Field(
        None, description="half of the keys of access tokens; without it all of them is in the database"
    )
    login_attempts: int = Field(10, ge=1, description="wrong passwords for one account in the window")
    login_attempts_per_address: int = Field(100, ge=1, description="wrong passwords from one address in the window")
    oidc: OidcSettings | None = Field(None, description="JSON: an external issuer whose tokens count here")
    login_window: float = Field(900, ge=1, le=86_400, description="seconds after which all attempts are allowed again")

    llm_providers: dict[str, ProviderSettings] = Field(
        default_factory=dict, description="JSON: upstreams by name; models are then called name:model"
    )
    llm_fallbacks: dict[str, list[str]] = Field(
        default_factory=dict, description="JSON: models to try, in order, when a model cannot answer"
    )
    llm_prices: dict[str, Price] = Field(
        default_factory=dict, description="JSON: US dollars for a million tokens by model; a name may end in *"
    )
    default_model: str = Field("echo", min_length=1, description="model of conversations that name none")
    history_max_messages: int = Field(1000, ge=1, description="newest messages of the history sent to the model")
    history_max_tokens: int = Field(100_000, ge=1, description="estimated tokens of the history sent to the model")

    max_body_bytes: int = Field(8 * MEBIBYTE, ge=1024, description="largest request body")
    max_message_bytes: int = Field(MEBIBYTE, ge=1, le=MEBIBYTE, description="largest content of one message, as UTF-8")
    max_scans: int = Field(
        2, ge=1, description="searches at the same time that read rows because no index answers them"
    )
    search_builder: bool = Field(
        True, description="take part in building the index of messages; one process at a time does it"
    )
    max_scans_per_user: int = Field(1, ge=1, description="those of one user")
    drain_timeout: float = Field(20, ge=0, description="seconds that running requests and turns get at shutdown")
    helper_model: str | None = Field(
        None, description="model of titles and suggested questions; the turn's own when left out"
    )
    auto_titles: bool = Field(False, description="ask a model for a title when a conversation has none")
    turn_lease: float = Field(
        10, ge=1, le=600, description="seconds of silence after which a process counts as dead and its turns are ended"
    )
    allowed_origins: list[str] = Field(
        default_factory=list,
        description="JSON: origins of web pages, besides the server's own, that may open a WebSocket",
    )
    socket_auth_timeout: float = Field(
        5, gt=0, le=60, description="seconds in which a WebSocket without a key has to send one"
    )
    socket_token_in_url: bool = Field(False, description="accept a WebSocket's key as ?token=, which proxies may log")
    text_search: bool = Field(
        False, description="keep a text index of messages for match=text; each insert pays for it"
    )
    text_language: TextLanguage = Field("english", description="whose word stems the text index has; none: whole words")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line to log")
    log_format: Literal["console", "json"] = Field("console", description="for people, or for machines")
    docs: bool = Field(True, description="serve /docs and /openapi.json")

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not re.fullmatch(r"https?://[^/?#\s]+", origin):
                raise ValueError(f"{origin!r} is no origin such as https://chat.example.com")
        return [origin.lower() for origin in origins]

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
        for name, provider in providers.items():
            if not name or ":" in name or name == "echo":
                raise ValueError(f"{name!r} cannot name a provider: it must not be empty, contain ':' or be 'echo'")
            kind = provider.kind_of(name)
            if provider.base_url is None and kind in KINDS_WITHOUT_ADDRESS:
                raise ValueError(f"{name!r} needs a base_url, or one of these kinds: {', '.join(_with_address())}")
        return providers

    @field_validator("llm_prices")
    @classmethod
    def _price_names(cls, prices: dict[str, Price]) -> dict[str, Price]:
        for name in prices:
            if "*" in name[:-1] or not name:
                raise ValueError(f"{name!r} cannot name a model: only its end may be *")
        return prices

    @field_validator("llm_fallbacks")
    @classmethod
    def _known_fallbacks(cls, fallbacks: dict[str, list[str]], info: ValidationInfo) -> dict[str, list[str]]:
        providers = info.data.get("llm_providers", {})
        for model, others in fallbacks.items():
            for each in (model, *others):
                provider, _, upstream_model = each.partition(":")
                if each != "echo" and not (provider in providers and upstream_model):
                    raise ValueError(f"{each!r} is no model of a provider that is set up")
            if len({model, *others}) <= len(others):
                raise ValueError(f"a model comes twice in the list of {model!r}")
        return fallbacks

    @model_validator(mode="after")
    def _safe_in_production(self) -> "Settings":
        key = self.bootstrap_key
        if self.environment == "production" and key is not None and len(key.get_secret_value()) < 32:
            raise ValueError("VERBATIM_BOOTSTRAP_KEY needs at least 32 characters in production")
        secret = self.token_secret
        if self.environment == "production" and secret is not None and len(secret.get_secret_value()) < 32:
            raise ValueError("VERBATIM_TOKEN_SECRET needs at least 32 characters in production")
        return self


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", url)
        )
    except ValueError:  # a port that is no number, or brackets without an IPv6 address
        return False


def _with_address() -> tuple[str, ...]:
    return tuple(kind for kind in KINDS if kind not in KINDS_WITHOUT_ADDRESS)
