"""The right to work on a job, and what takes it away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId


class ClaimLost(Exception):
    """The job is not this attempt's any more: it was cancelled or removed, or another process has it."""


@dataclass(frozen=True)
class Claim:
    """One attempt at a job. Every write of the work has `condition` in its filter."""

    id: ObjectId
    attempt: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Claim":
        return cls(row["_id"], row["attempt"])

    @property
    def condition(self) -> dict[str, Any]:
        return {"_id": self.id, "attempt": self.attempt, "state": "running"}
