"""For how long entries are kept: an index of the database lets them end, whatever process runs."""

from contextlib import suppress

import pymongo
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from app.audit.model import AuditEntry
from app.kit.deadlines import WRITE_SECONDS
from app.kit.logs import logger

INDEX = "expiry_v1"
_DAY = 24 * 3600


async def is_settled(days: int) -> bool:
    """Whether `settle` has nothing to do."""
    present = (await AuditEntry.get_pymongo_collection().index_information()).get(INDEX)
    return present is not None and bool(present["expireAfterSeconds"] == days * _DAY)


async def settle(days: int) -> None:
    """Keep entries for so many days, those that are there already among them.

    Not an index of the model: the database refuses to start with another number of days in the place of the old one.
    """
    collection = AuditEntry.get_pymongo_collection()
    seconds = days * _DAY
    present = (await collection.index_information()).get(INDEX)
    if present is not None and present["expireAfterSeconds"] == seconds:
        return
    if present is not None:
        # Not collMod, which a user who may read and write a database may not.
        with suppress(OperationFailure), pymongo.timeout(WRITE_SECONDS):  # another server may have dropped it just now
            await collection.drop_index(INDEX)
        logger.info("audit_days_changed", days=days)
    await collection.create_indexes([IndexModel("created_at", name=INDEX, expireAfterSeconds=seconds)])
