"""The definitions of the tools that a conversation's turns offered, as JSON text with the first turn's answer."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.kit.repository import Row
from app.llm.history import estimate_tokens

MAX_TOOLS = 128
"""As many as OpenAI takes."""


def definitions(offered: Sequence[Row], *, up_to: int | None = None) -> list[dict[str, Any]]:
    """The functions offered in turns up to the answer with this number, in OpenAI's form; the newest of each name.

    Tools that are no functions have no place in training data.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in offered:
        if up_to is None or each["first"] <= up_to:
            found |= {tool["function"]["name"]: tool for tool in orjson.loads(each["tools"]) if _is_function(tool)}
    return list(found.values())


def tools_tokens(tools: Sequence[dict[str, Any]]) -> int:
    """About how many tokens the definitions have."""
    return estimate_tokens(orjson.dumps(tools).decode()) if tools else 0


def _is_function(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)
