"""Finds the provider of a model by the model's name."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from app.config import MEBIBYTE, ProviderSettings
from app.kit.errors import Invalid
from app.llm.echo import Echo
from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import Provider


class Providers:
    """The models of this process: `echo`, and `name:model` for each upstream of `Settings.llm_providers`."""

    def __init__(self, upstreams: Mapping[str, ProviderSettings], *, max_answer_bytes: int = MEBIBYTE) -> None:
        """`max_answer_bytes`: where an answer is ended with `length`; give it `Settings.max_message_bytes`."""
        self._echo = Echo()
        self._upstreams = {
            name: OpenAICompatible(name, each, max_answer_bytes=max_answer_bytes) for name, each in upstreams.items()
        }

    def resolve(self, model: str) -> tuple[Provider, str]:
        """The provider and the name the model has there; raises `Invalid` for field `body.model`."""
        if model == self._echo.name:
            return self._echo, model
        name, _, upstream_model = model.partition(":")
        if name not in self._upstreams or not upstream_model:
            known = ", ".join([self._echo.name, *(f"{each}:<model>" for each in self._upstreams)])
            raise Invalid.field("body.model", f"there is no such model; known are {known}.")
        return self._upstreams[name], upstream_model

    def names(self) -> list[str]:
        """The providers: `echo`, which is also its model's name, then the upstreams in the order of the settings."""
        return [self._echo.name, *self._upstreams]

    async def aclose(self) -> None:
        """Close every provider, also when one of them fails to."""
        async with AsyncExitStack() as stack:
            for provider in self._upstreams.values():
                stack.push_async_callback(provider.aclose)
