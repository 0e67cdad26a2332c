"""What a migration is: a number, a phase, and work that can be cut short anywhere and done again."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from app.database import Database

Phase = Literal["expand", "migrate", "contract"]
"""expand: servers wait for it, and older ones can go on beside it. migrate: done beside servers, which can do without.
contract: takes away what older versions need, so they refuse to start from then on; done on request alone."""


@dataclass(frozen=True)
class Step:
    """How far a migration is: `done` of `total`. `place`: from where it can go on, whatever it stores for that."""

    done: int
    total: int
    place: Any = None
    what: str = ""


Work = Callable[[Database, Any], AsyncGenerator[Step, None]]
"""Does it, from the place of its last step on, or from the beginning (None)."""


@dataclass(frozen=True)
class Migration:
    """`is_due`: whether the data needs it again although it is done, asked at every start; it must be quick."""

    number: int
    name: str
    phase: Phase
    summary: str
    work: Work
    is_due: Callable[[Database], Awaitable[bool]] | None = None

    def __str__(self) -> str:
        return f"{self.number} ({self.name})"


@dataclass(frozen=True)
class Progress:
    """How far a migration is; `is_ours`: this process does it."""

    migration: Migration
    step: Step
    is_ours: bool
    holder: str = ""
    """Who else does it: host, process and a random word."""
