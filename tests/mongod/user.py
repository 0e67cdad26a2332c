"""A process that uses the embedded MongoDB until its standard input ends (`python -m tests.mongod.user DATA`)."""

import asyncio
import sys
from pathlib import Path

from app.mongod import EmbeddedMongod, find_mongod


async def use(data: Path) -> None:
    async with EmbeddedMongod(data, find_mongod(None)) as uri:
        print(uri, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(use(Path(sys.argv[1])))
