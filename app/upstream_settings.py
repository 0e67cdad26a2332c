"""Settings of upstreams: where a language model is served, what it is called there, what it costs."""

import re
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

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


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", url)
        )
    except ValueError:  # a port that is no number, or brackets without an IPv6 address
        return False
