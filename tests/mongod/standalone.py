"""A mongod without a replica set, on a unix socket."""

import asyncio
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from pymongo import AsyncMongoClient


@asynccontextmanager
async def standalone(folder: Path, mongod: Path) -> AsyncIterator[str]:
    """Its URI, once it answers."""
    (folder / "db").mkdir()
    with tempfile.TemporaryDirectory(prefix="vb") as short:  # a socket's path has 107 bytes at most
        socket = Path(short) / "m.sock"
        process = await asyncio.create_subprocess_exec(
            str(mongod),
            *("--dbpath", str(folder / "db"), "--logpath", str(folder / "mongod.log")),
            *("--bind_ip", str(socket), "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),
            *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        try:
            uri = f"mongodb://{quote_plus(str(socket))}/"
            client: AsyncMongoClient[dict[str, Any]]
            async with AsyncMongoClient(uri, serverSelectionTimeoutMS=60_000) as client:
                await client.admin.command("ping")
            yield uri
        finally:
            process.terminate()
            await process.wait()
