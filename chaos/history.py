"""What clients did and were told, with the instants (monotonic seconds) between which it happened.

A write that was attempted and not confirmed may have happened or not: its `ended` is None. All lists grow in the order
in which requests ended, so a run that is cut short leaves what it knows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["open", "append", "ask", "follow", "turn", "read", "export"]
"""`ask`: to the first byte of the answer; `turn`: to its end; `follow`: coming back to it."""


@dataclass
class Append:
    """One message for one conversation; its content is unlike any other's. `seq` and `id`: as it was confirmed."""

    conversation: str
    content: str
    started: float
    ended: float | None = None
    seq: int = 0
    id: str = ""


@dataclass(frozen=True)
class Seen:
    """A message as a reader was shown it."""

    conversation: str
    seq: int
    id: str
    content: str


@dataclass(frozen=True)
class Reading:
    """The newest messages of one conversation, newest first."""

    conversation: str
    started: float
    ended: float
    rows: Sequence[Seen]


@dataclass(frozen=True)
class Exported:
    """A whole file: every message of these conversations. `claimed`: how many rows the server says it has."""

    how: str
    conversations: Sequence[str]
    started: float
    ended: float
    rows: Sequence[Seen]
    claimed: int | None = None
    is_intact: bool = True
    """Whether its hash is the one that was promised."""


@dataclass(frozen=True)
class Request:
    """One thing a client wanted, with all attempts at it. `failure`: why it gave up, empty when it did not."""

    kind: Kind
    started: float
    ended: float
    attempts: int
    failure: str = ""


@dataclass
class History:
    appends: list[Append] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    exports: list[Exported] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def read(self, conversation: str, started: float, rows: Sequence[Seen]) -> None:
        """Note a page that has just come."""
        self.readings.append(Reading(conversation, started, time.monotonic(), rows))
