"""What a restore leaves in a database while it is not whole: the mark by which servers refuse it, and names of
collections that are being filled."""

from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase

from app.kit.deadlines import READ_SECONDS

DEPLOYMENT = "deployment"
"""The collection of facts about the deployment itself, each a document."""
BACKUP_MARK = "backup"
"""Its document about backups: when the last one was taken."""
RESTORE_MARK = "restore"
LOADING, REPLACING = "loading", "replacing"
"""States of a restore: there was nothing before, and not all has come yet; what was there is being replaced."""
RESTORING = "restoring."


def is_staged(name: str) -> bool:
    """Whether a collection is being filled and will get its name at the end."""
    return name.startswith(RESTORING)


async def unfinished_restore(database: AsyncDatabase[dict[str, Any]]) -> dict[str, Any] | None:
    """The mark of a restore that has not ended: which `backup`, and its `state`."""
    with pymongo.timeout(READ_SECONDS):
        return await database[DEPLOYMENT].find_one({"_id": RESTORE_MARK})
