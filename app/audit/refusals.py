"""Refusals in the audit log: some of each asker a minute, so that nobody can fill it with them."""

import time
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.audit.trail import record
from app.kit.logs import logger

WINDOW_SECONDS = 60.0
PER_ASKER = 10
IN_ALL = 300
"""Entries a window, of one asker and of all; those beyond are counted, and the asker's next entry tells how many."""


class Refusals:
    def __init__(self) -> None:
        self._until = 0.0
        self._noted: Counter[Hashable] = Counter()
        self._passed_over: Counter[Hashable] = Counter()

    async def note(
        self,
        asker: Hashable,
        action: str,
        resource: str,
        target_id: ObjectId | None = None,
        *,
        subject_id: ObjectId | None = None,
        details: Mapping[str, Any] = {},
    ) -> None:
        """Write an entry unless there were too many. One that cannot be written is logged: the refusal stands."""
        if not self._may_note(asker):
            return
        if (more := self._passed_over.pop(asker, 0)) > 0:
            details = {**details, "passed_over": more}
        try:
            await record(action, resource, target_id, subject_id=subject_id, details=details)
        except PyMongoError as error:
            logger.warning("refusal_not_noted", action=action, error=type(error).__name__)

    def _may_note(self, asker: Hashable) -> bool:
        if time.monotonic() >= self._until:
            self._until = time.monotonic() + WINDOW_SECONDS
            self._noted.clear()
            if len(self._passed_over) > IN_ALL:
                self._passed_over.clear()
        if self._noted[asker] >= PER_ASKER or self._noted.total() >= IN_ALL:
            if asker in self._passed_over or len(self._passed_over) <= IN_ALL:
                self._passed_over[asker] += 1
            return False
        self._noted[asker] += 1
        return True
