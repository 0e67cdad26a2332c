"""Settings: every variable the server reads, typed, described and with its default.

Read from the environment (`VERBATIM_<NAME>`), from `.env` in the working folder, and from a folder with a file each
(`verbatim_<name>`), as containers are given secrets; `.env.example` lists them all.
"""

import os
import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from app.limit_settings import LimitSettings
from app.log_settings import LogSettings
from app.oidc_settings import OidcSettings
from app.upstream_settings import KINDS, KINDS_WITHOUT_ADDRESS, Price, ProviderSettings

MEBIBYTE = 1024 * 1024
_HOST_NAME = r"(?:[A-Za-z0-9][A-Za-z0-9_-]*\.)*[A-Za-z][A-Za-z0-9-]*"
SECRETS_VARIABLE = "VERBATIM_SECRETS"
USUAL_SECRETS = "/run/secrets"


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


class Settings(LimitSettings, LogSettings):
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
    workers: int = Field(1, ge=1, le=64, description="processes of `verbatim serve` that share the port")
    data: Path = Field(Path("data"), description="folder of the embedded MongoDB and of the first admin key")
    mongo_uri: SecretStr | None = Field(None, description="an existing replica set instead of the embedded MongoDB")
    database: str = Field("verbatim", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="name of the database")
    mongo_user: str | None = Field(None, description="who logs in there, where the URI shall not say it")
    mongo_password: SecretStr | None = Field(None, description="the password of that user")
    mongo_admin_password: SecretStr | None = Field(
        None, description="the admin's, for `verbatim init-replica-set` only"
    )
    migrate: bool = Field(
        True, description="migrate the database at the start; false: wait until `verbatim migrate` was run"
    )
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
        1, ge=1, description="searches at the same time that read rows because no index answers them"
    )
    search_builder: bool = Field(
        True, description="take part in building the index of messages; one process at a time does it"
    )
    max_scans_per_user: int = Field(1, ge=1, description="those of one user")
    failover_seconds: float = Field(
        15, ge=0, le=120, description="seconds that requests wait while MongoDB has no primary; then 503 at once"
    )
    drain_timeout: float = Field(20, ge=0, description="seconds that running requests and turns get at shutdown")
    helper_model: str | None = Field(
        None, description="model of titles and suggested questions; the turn's own when left out"
    )
    auto_titles: bool = Field(False, description="ask a model for a title when a conversation has none")
    turn_lease: float = Field(
        10, ge=1, le=600, description="seconds of silence after which a process counts as dead and its turns are ended"
    )
    import_workers: int = Field(
        1, ge=0, le=32, description="import jobs at the same time in this process; 0 leaves them to others"
    )
    import_max_bytes: int = Field(64 * MEBIBYTE, ge=1024, description="largest file that POST /api/imports takes")
    import_max_jobs: int = Field(3, ge=1, description="unfinished import jobs of one user")
    import_days: float = Field(
        90, gt=0, le=3650, description="days that an import is known and can be undone; its conversations stay"
    )
    export_workers: int = Field(
        2, ge=0, le=32, description="export jobs at the same time in this process; 0 leaves them to others"
    )
    export_days: float = Field(7, gt=0, le=3650, description="days that an export job and its file are kept")
    export_max_jobs: int = Field(3, ge=1, description="unfinished export jobs of one user")
    export_max_bytes: int = Field(1024 * MEBIBYTE, ge=1, description="kept export files of one user, in all")
    export_slice_rows: int = Field(
        2000, ge=1, le=10_000, description="rows that an export job stores at once; a killed one repeats no more"
    )
    allowed_origins: list[str] = Field(
        default_factory=list,
        description="JSON: origins of web pages, besides the server's own, that may use the API and open a WebSocket",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1", description="addresses or networks of proxies whose X-Forwarded-* headers count; *: all"
    )
    max_connections: int = Field(10_000, ge=1, description="connections at the same time; more are answered 503")
    socket_auth_timeout: float = Field(
        5, gt=0, le=60, description="seconds in which a WebSocket without a key has to send one"
    )
    socket_token_in_url: bool = Field(False, description="accept a WebSocket's key as ?token=, which proxies may log")
    text_search: bool = Field(
        False, description="keep a text index of messages for match=text; each insert pays for it"
    )
    text_language: TextLanguage = Field("english", description="whose word stems the text index has; none: whole words")
    webhook_delivery: bool = Field(True, description="take part in telling webhooks what happens")
    webhook_allow: list[str] = Field(
        default_factory=list,
        description="JSON: hosts, addresses and networks that webhooks may reach besides the public internet",
    )
    webhook_timeout: float = Field(15, gt=0, le=60, description="seconds that one delivery may take")
    webhook_log_days: int = Field(7, ge=2, le=365, description="days for which deliveries are kept")
    audit_days: int = Field(365, ge=1, le=3650, description="days for which entries of the audit log are kept")
    docs: bool = Field(True, description="serve /docs and /openapi.json")

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not re.fullmatch(r"https?://[^/?#\s]+", origin):
                raise ValueError(f"{origin!r} is no origin such as https://chat.example.com")
        return [origin.lower() for origin in origins]

    @field_validator("webhook_allow")
    @classmethod
    def _reachable(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            if not _is_network(entry) and not re.fullmatch(_HOST_NAME, entry):
                raise ValueError(f"{entry!r} is no host, address or network such as hooks.example.com or 10.1.0.0/16")
        return [entry.lower() for entry in entries]

    @field_validator("bootstrap_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("may hold only printable ASCII characters without spaces, to be sent in a header")
        return key

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the folder of secrets where there is one."""
        folder = Path(os.environ.get(SECRETS_VARIABLE) or USUAL_SECRETS)
        files = SecretsSettingsSource(settings_cls, folder) if folder.is_dir() else file_secret_settings
        return init_settings, env_settings, dotenv_settings, files

    @field_validator("data", "mongod", "log_file")
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
        if self.environment == "production":
            faults = [sentence for is_unsafe, sentence in _UNSAFE if is_unsafe(self)]
            if faults:
                raise ValueError(" ".join(faults))
        return self


def _is_weak(secret: SecretStr | None) -> bool:
    """Too short for a secret, or of too few different characters to be one."""
    return secret is not None and (len(secret.get_secret_value()) < 32 or len(set(secret.get_secret_value())) < 10)


def _has_no_login(settings: Settings) -> bool:
    uri = settings.mongo_uri
    return uri is not None and settings.mongo_user is None and "@" not in uri.get_secret_value()


def _has_plain_origin(settings: Settings) -> bool:
    return any(origin.startswith("http://") for origin in settings.allowed_origins)


_UNSAFE: tuple[tuple[Callable[[Settings], bool], str], ...] = (
    (
        lambda settings: _is_weak(settings.bootstrap_key),
        "VERBATIM_BOOTSTRAP_KEY needs at least 32 random characters in production: openssl rand -hex 32.",
    ),
    (
        lambda settings: _is_weak(settings.token_secret),
        "VERBATIM_TOKEN_SECRET needs at least 32 random characters in production: openssl rand -hex 32.",
    ),
    (
        _has_no_login,
        "VERBATIM_MONGO_URI names no user: MongoDB must ask who comes; set VERBATIM_MONGO_USER and its password.",
    ),
    (
        lambda settings: settings.mongo_user is not None and settings.mongo_password is None,
        "VERBATIM_MONGO_USER needs VERBATIM_MONGO_PASSWORD.",
    ),
    (
        _has_plain_origin,
        "VERBATIM_ALLOWED_ORIGINS names pages without TLS (http://), which anybody on the way can change.",
    ),
    (
        lambda settings: settings.socket_token_in_url,
        "VERBATIM_SOCKET_TOKEN_IN_URL puts keys where proxies log them; leave it off in production.",
    ),
    (
        lambda settings: settings.trusted_proxies.strip() == "*",
        "VERBATIM_TRUSTED_PROXIES=* lets every client claim another's address; name the proxies.",
    ),
)
"""What production refuses, with a sentence each."""


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _with_address() -> tuple[str, ...]:
    return tuple(kind for kind in KINDS if kind not in KINDS_WITHOUT_ADDRESS)
