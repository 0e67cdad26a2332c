"""A process that appends to one conversation, for tests of several at once.

`python -m tests.conversations.appender <conversation> <count> <name>` says "ready", waits for a line, then appends
`count` messages one after the other and says `{"seq": ..., "content": ..., "ms": ...}` of each that is stored.
"""

import asyncio
import json
import sys
import time

from bson import ObjectId

from app.config import Settings
from app.conversations.schemas import MessageCreate
from app.kit.repository import EVERYTHING
from app.migrations.starting import no_start
from app.services import open_services


async def main(conversation: str, count: int, name: str) -> None:
    async with open_services(Settings(), start=no_start) as services:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for number in range(count):
            began = time.perf_counter()
            new = MessageCreate(role="user", content=f"{name}:{number}")
            appended = await services.conversations.append(EVERYTHING, ObjectId(conversation), [new])
            stored = {"seq": appended.messages[0]["seq"], "content": new.content}
            print(json.dumps({**stored, "ms": (time.perf_counter() - began) * 1000}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
