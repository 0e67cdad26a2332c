"""What is known beforehand about upstreams, and what the settings say about them."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from app.config import Settings
from app.llm.presets import PRESETS, endpoint
from app.upstream_settings import KINDS, KINDS_WITHOUT_ADDRESS, ProviderKind, ProviderSettings
from tests.llm.conftest import MakeModels, ask, collect
from tests.upstream import Upstream


def configured(**settings: Any) -> Settings:
    return Settings.model_validate({"_env_file": None, **settings})


def test_every_kind_has_a_preset() -> None:
    assert set(PRESETS) == set(KINDS) == set(get_args(ProviderKind))
    assert {kind for kind, preset in PRESETS.items() if preset.base_url is None} == set(KINDS_WITHOUT_ADDRESS)


@pytest.mark.parametrize(
    ("name", "settings", "url", "headers"),
    [
        (
            "deepseek",
            {"api_key": "k"},
            "https://api.deepseek.com/v1/chat/completions",
            {"Authorization": "Bearer k"},
        ),
        (
            "mine",
            {"kind": "openai", "api_key": "k"},
            "https://api.openai.com/v1/chat/completions",
            {"Authorization": "Bearer k"},
        ),
        ("openai", {"base_url": "http://proxy/v1/"}, "http://proxy/v1/chat/completions", {}),
        (
            "azure",
            {"base_url": "https://r.openai.azure.com/openai/v1", "api_key": "k"},
            "https://r.openai.azure.com/openai/v1/chat/completions",
            {"api-key": "k"},
        ),
        ("ollama", {}, "http://127.0.0.1:11434/v1/chat/completions", {}),
        ("local", {"base_url": "http://localhost:1/v1"}, "http://localhost:1/v1/chat/completions", {}),
    ],
)
def test_where_and_how_an_upstream_is_called(
    name: str, settings: dict[str, Any], url: str, headers: dict[str, str]
) -> None:
    chosen = configured(llm_providers={name: settings}).llm_providers[name]
    found = endpoint(name, chosen)
    assert (found.url, found.key_headers) == (url, headers)


async def test_azure_gets_its_key_in_its_own_header(upstream: Upstream, make_models: MakeModels) -> None:
    await collect(make_models(kind="azure", api_key="secret"), ask("fake:gpt"))
    [exchange] = upstream.requests
    assert exchange.headers["api-key"] == "secret"
    assert "Authorization" not in exchange.headers


def test_an_explicit_kind_overrides_the_name() -> None:
    settings = ProviderSettings(kind="openai_compatible", base_url="http://x/v1")
    assert endpoint("openai", settings).parameters == {}


GOOD = {"local": {"base_url": "http://127.0.0.1:1/v1"}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"llm_providers": {"mine": {"api_key": "k"}}}, "'mine' needs a base_url, or one of these kinds: openai, "),
        ({"llm_providers": {"azure": {"api_key": "k"}}}, "'azure' needs a base_url"),
        ({"llm_providers": {"mine": {"kind": "openia"}}}, "Input should be"),
        ({"llm_providers": {"echo": {"base_url": "http://x"}}}, "'echo' cannot name a provider"),
        ({"llm_providers": {"a:b": {"base_url": "http://x"}}}, "'a:b' cannot name a provider"),
        ({"llm_providers": {"openai": {"parameters": {"max_token": None}}}}, "Input should be"),
        ({"llm_providers": GOOD, "llm_fallbacks": {"other:m": ["echo"]}}, "'other:m' is no model of a provider"),
        ({"llm_providers": GOOD, "llm_fallbacks": {"local:m": ["local:n", "other:m"]}}, "'other:m' is no model"),
        ({"llm_providers": GOOD, "llm_fallbacks": {"local:m": ["local:"]}}, "'local:' is no model of a provider"),
        ({"llm_providers": GOOD, "llm_fallbacks": {"local:m": ["local:m"]}}, "comes twice in the list of 'local:m'"),
        ({"llm_prices": {"a*b": {"prompt": 1, "completion": 1}}}, "only its end may be *"),
        ({"llm_prices": {"a": {"prompt": -1, "completion": 1}}}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("*", r"\*")) as refusal:
        configured(**settings)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://", "http://x y/v1", "http://x:99999/v1", "http://[::1/v1", "x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="must be an address"):
        ProviderSettings(base_url=url)


def test_fallbacks_may_name_any_model_that_there_is() -> None:
    settings = configured(llm_providers=GOOD, llm_fallbacks={"local:a": ["local:b:8b", "echo"], "echo": ["local:a"]})
    assert settings.llm_fallbacks["local:a"] == ["local:b:8b", "echo"]
