"""What a check says."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.services import Services


@dataclass(frozen=True)
class Finding:
    """One check: whether it is all right, and a sentence."""

    is_good: bool
    sentence: str


Check = Callable[[Services], Awaitable[Finding]]
