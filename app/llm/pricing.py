"""What an answer costs, from a table of prices by model."""

from collections.abc import Mapping

from app.llm.provider import Usage
from app.upstream_settings import Price

_TOKENS = 1_000_000


class Prices:
    """By full name (`openai:gpt-x`); a name that ends in `*` stands for all that begin so. The longest match wins.

    What an upstream charges otherwise for cached or reasoning tokens is not known here: they cost what the others do.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._exact = {name: price for name, price in prices.items() if not name.endswith("*")}
        beginnings = [(name[:-1], price) for name, price in prices.items() if name.endswith("*")]
        self._longest_first = sorted(beginnings, key=lambda each: -len(each[0]))

    def cost(self, model: str, usage: Usage) -> float | None:
        """In US dollars; None when the model has no price, which is not the same as costing nothing."""
        price = self._exact.get(model) or next(
            (price for beginning, price in self._longest_first if model.startswith(beginning)), None
        )
        if price is None:
            return None
        return (usage.prompt_tokens * price.prompt + usage.completion_tokens * price.completion) / _TOKENS
