"""For how long entries are kept: an index of the database lets them end, whatever process runs."""

import pymongo
from pymongo import IndexModel

from app.audit.model import AuditEntry
from app.kit.deadlines import WRITE_SECONDS
from app.kit.logs import logger

INDEX = "expiry_v1"
_DAY = 24 * 3600


async def settle(days: int) -> None:
    """Keep entries for so many days, those that are there already among them.

    Not an index of the model: the database refuses to start with another number of days in the place of the old one.
    """
    collection = AuditEntry.get_pymongo_collection()
    seconds = days * _DAY
    present = (await collection.index_information()).get(INDEX)
    if present is None:
        await collection.create_indexes([IndexModel("created_at", name=INDEX, expireAfterSeconds=seconds)])
    elif present["expireAfterSeconds"] != seconds:
        with pymongo.timeout(WRITE_SECONDS):
            await collection.database.command(
                "collMod", collection.name, index={"name": INDEX, "expireAfterSeconds": seconds}
            )
        logger.info("audit_days_changed", days=days)
