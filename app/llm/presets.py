"""What is known beforehand about each kind of upstream: its address, how it is sent a key, what it calls parameters.

All of them speak OpenAI's `POST /chat/completions`. A parameter that is not in a preset's table is sent under OpenAI's
own name; None means that the upstream refuses the parameter, so that it is left out. `ProviderSettings.parameters`
overrides single entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.upstream_settings import Parameter, ProviderKind, ProviderSettings

Names = Mapping[Parameter, str | None]


@dataclass(frozen=True)
class Preset:
    """`base_url` is None where only the operator can know it. `key_header` carries `key_prefix` and the key.

    `has_short_call_ids`: ids of tool calls, also other vendors' in the history, must be nine letters or digits.
    """

    base_url: str | None
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    parameters: Names = field(default_factory=dict)
    has_short_call_ids: bool = False


# Newer models refuse `max_tokens`; the older ones that are still served accept both.
_NEWER_OPENAI: Names = {"max_tokens": "max_completion_tokens"}
# Usage comes with the last chunk anyway. What Mistral does not know is "extra_forbidden" (422).
_MISTRAL: Names = {"stream_options": None, "seed": "random_seed"}
# "Unknown name: Cannot find field" (400).
_GOOGLE: Names = {"seed": None, "frequency_penalty": None, "presence_penalty": None}

PRESETS: Mapping[ProviderKind, Preset] = {
    "openai_compatible": Preset(None),
    "openai": Preset("https://api.openai.com/v1", parameters=_NEWER_OPENAI),
    # https://RESOURCE.openai.azure.com/openai/v1; the model is the deployment's name.
    "azure": Preset(None, key_header="api-key", key_prefix="", parameters=_NEWER_OPENAI),
    "anthropic": Preset("https://api.anthropic.com/v1"),
    "google": Preset("https://generativelanguage.googleapis.com/v1beta/openai", parameters=_GOOGLE),
    "deepseek": Preset("https://api.deepseek.com/v1"),
    # Outside China: https://dashscope-intl.aliyuncs.com/compatible-mode/v1
    "qwen": Preset("https://dashscope.aliyuncs.com/compatible-mode/v1"),
    # Outside China: https://api.z.ai/api/paas/v4
    "zhipu": Preset("https://open.bigmodel.cn/api/paas/v4"),
    "qianfan": Preset("https://qianfan.baidubce.com/v2"),
    # Outside China: https://api.moonshot.ai/v1
    "moonshot": Preset("https://api.moonshot.cn/v1"),
    "mistral": Preset("https://api.mistral.ai/v1", parameters=_MISTRAL, has_short_call_ids=True),
    "groq": Preset("https://api.groq.com/openai/v1"),
    "openrouter": Preset("https://openrouter.ai/api/v1"),
    "ollama": Preset("http://127.0.0.1:11434/v1"),
    "vllm": Preset("http://127.0.0.1:8000/v1"),
    "lmstudio": Preset("http://127.0.0.1:1234/v1"),
}


@dataclass(frozen=True)
class Endpoint:
    """Where one upstream is called, with which header, and how it wants its requests; see `Preset`."""

    url: str
    key_headers: Mapping[str, str]
    parameters: Names
    has_short_call_ids: bool


def endpoint(name: str, settings: ProviderSettings) -> Endpoint:
    """The preset of the upstream `name`, with what its settings override; `Settings` sees to it that there is a URL."""
    preset = PRESETS[settings.kind_of(name)]
    base_url = settings.base_url or preset.base_url
    if base_url is None:
        raise ValueError(f"{name!r} needs a base_url")
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return Endpoint(
        url=f"{base_url.rstrip('/')}/chat/completions",
        key_headers={preset.key_header: preset.key_prefix + key} if key else {},
        parameters={**preset.parameters, **settings.parameters},
        has_short_call_ids=preset.has_short_call_ids,
    )
