"""What the supervisor tells a worker, and the worker it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Self

READY = b"ready"


@dataclass(frozen=True)
class Order:
    """What a worker is told: its number, from 1; two open descriptors; and the options of the command line."""

    number: int
    listener: int
    control: int
    options: dict[str, str | int] = field(default_factory=dict)

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        return cls(**json.loads(text))
