"""Models are found by name."""

import pytest

from app.config import ProviderSettings
from app.kit.errors import Invalid
from app.llm.echo import Echo
from app.llm.openai_compatible import OpenAICompatible
from app.llm.registry import Providers
from tests.llm.conftest import ask, complete
from tests.upstream import Upstream, answer


def settings(base_url: str = "http://127.0.0.1:9/v1") -> ProviderSettings:
    return ProviderSettings.model_validate({"base_url": base_url})


async def test_echo_is_always_there() -> None:
    providers = Providers({})
    provider, model = providers.resolve("echo")
    assert (type(provider), model, providers.names()) == (Echo, "echo", ["echo"])
    await providers.aclose()


async def test_name_and_model_are_split_at_the_first_colon() -> None:
    providers = Providers({"local": settings(), "cloud": settings()})
    provider, model = providers.resolve("local:llama3:8b")
    assert isinstance(provider, OpenAICompatible)
    assert (provider.name, model) == ("local", "llama3:8b")
    assert providers.resolve("local:x")[0] is provider
    assert providers.names() == ["echo", "local", "cloud"]
    await providers.aclose()


@pytest.mark.parametrize("model", ["", "gpt", "local", "local:", ":x", "other:x", "echo:x", "Echo"])
async def test_an_unknown_model_is_refused_with_the_names_that_exist(model: str) -> None:
    providers = Providers({"local": settings(), "cloud": settings()})
    with pytest.raises(Invalid) as refusal:
        providers.resolve(model)
    [field] = refusal.value.members["fields"]
    assert field["field"] == "body.model"
    assert all(name in field["message"] for name in ("echo", "local:<model>", "cloud:<model>"))
    await providers.aclose()


async def test_aclose_closes_the_connections(upstream: Upstream) -> None:
    providers = Providers({"local": settings(upstream.base_url)}, max_answer_bytes=3)
    upstream.script["m"] = answer(["abc", "def"])
    provider, model = providers.resolve("local:m")
    text, finish = await complete(provider, ask(model))
    assert (text, finish.reason) == ("abc", "length")
    await providers.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await complete(provider, ask(model))
