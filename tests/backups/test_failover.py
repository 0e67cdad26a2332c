"""A primary that is killed while a backup is taken, and a restore while a member is away."""

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from app.backups.frames import BackupWriter
from app.backups.saving import Saving, Step
from app.backups.source import Source
from app.database import CLIENT_OPTIONS
from app.mongod import find_mongod
from tests.backups.conftest import ignore, load, rows_of
from tests.faults.replica_set import ReplicaSet

pytestmark = [pytest.mark.mongod, pytest.mark.slow]


@pytest.mark.timeout(240)
async def test_a_killed_primary_does_not_end_a_backup(tmp_path: Path) -> None:
    async with (
        ReplicaSet(tmp_path, await asyncio.to_thread(find_mongod, None)) as members,
        AsyncMongoClient[dict[str, Any]](members.admin_uri, **CLIENT_OPTIONS) as client,
    ):
        rows = client["saved"]["rows"]
        await rows.insert_many([{"_id": n, "n": 0, "data": os.urandom(200)} for n in range(6000)])
        await rows.create_index("n", name="n_v1")
        before = [row.raw async for row in rows_of(client["saved"], "rows")]
        kills: list[asyncio.Task[Any]] = []

        def kill_once(_: Step) -> None:
            if not kills:
                kills.append(asyncio.create_task(members.kill_primary()))

        for prefers_secondary in (False, True):
            file = io.BytesIO()
            source = Source(
                client, "saved", has_snapshots=True, prefers_secondary=prefers_secondary, page_documents=500
            )
            saved = await Saving(source, BackupWriter(file), "0", kill_once).save(ignore)
            await rows.update_many({}, {"$inc": {"n": 1}})  # none of the backup's business any more
            await load(client["restored"], file.getvalue(), drop=True)

            assert saved.documents["rows"] == 6000
            if not prefers_secondary:
                assert [row.raw async for row in rows_of(client["restored"], "rows")] == before
            assert "n_v1" in await client["restored"]["rows"].index_information()
        await asyncio.gather(*kills)
