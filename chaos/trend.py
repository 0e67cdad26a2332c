"""Whether something grows: a straight line through what was measured, by least squares."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

_SURE = 3.0
"""Standard errors by which a line has to rise before it is more than noise."""


@dataclass(frozen=True)
class Trend:
    """`mean` of all values, `growth` along the line from the first instant to the last, `error` of the growth."""

    mean: float
    growth: float
    error: float

    def is_flat(self, share: float, amount: float) -> bool:
        """Whether it grows by no more than this share of the mean, or this amount, or what noise would show."""
        return self.growth <= max(share * self.mean, amount) or self.growth <= _SURE * self.error


def trend(instants: Sequence[float], values: Sequence[float]) -> Trend:
    """Of at least three values; raises ValueError."""
    if len(values) < 3:
        raise ValueError("a trend needs three values")
    middle, mean = fmean(instants), fmean(values)
    spread = sum((at - middle) ** 2 for at in instants)
    pairs = list(zip(instants, values, strict=True))
    slope = sum((at - middle) * (value - mean) for at, value in pairs) / spread
    left = sum((value - mean - slope * (at - middle)) ** 2 for at, value in pairs)
    seconds = instants[-1] - instants[0]
    return Trend(mean, slope * seconds, sqrt(left / (len(values) - 2) / spread) * seconds)
