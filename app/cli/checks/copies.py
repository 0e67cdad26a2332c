"""What is there in case all of it burns: the last backup, and restores that did not end."""

import pymongo

from app.backups.marks import BACKUP_MARK, DEPLOYMENT, is_staged
from app.cli.checks.finding import Finding
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS
from app.services import Services


async def backups(services: Services) -> Finding:
    database = services.database.client[services.database.name]
    with pymongo.timeout(READ_SECONDS):
        names = await database.list_collection_names()
        row = await database[DEPLOYMENT].find_one({"_id": BACKUP_MARK})
    if staged := [name for name in names if is_staged(name)]:
        return Finding(
            False,
            f"a restore was cut short and left {len(staged)} collections ({staged[0]}, ...): run it again or drop them",
        )
    last = (row or {}).get("last")
    if last is None:
        return Finding(True, "verbatim backup has taken none of this database yet; the guide shows a line for cron")
    hours = (now() - last["finished_at"]).total_seconds() / 3600
    return Finding(True, f"the last one was taken {hours:,.1f} hours ago ({last['bytes']:,} bytes)")
