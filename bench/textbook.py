"""`python -m bench.textbook FOLDER WAY`: exports as they are usually written, on the embedded MongoDB of a folder.

Every document becomes a model, all of them a list, and the list a file; once the documents are left as the driver has
read them, to tell the cost of the file. The columns are those of the product's export.
"""

import asyncio
import csv
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl

from app.config import Settings
from app.conversations.model import Message
from app.conversations.resource import MESSAGES
from app.database import open_database

Rows = Sequence[Message] | Sequence[Mapping[str, Any]]
Writer = Callable[[Rows, Path], None]


async def models() -> Rows:
    """Beanie's to_list"""
    return await Message.find_all(sort="created_at").to_list()


async def documents() -> Rows:
    """the driver's to_list"""
    return await Message.get_pymongo_collection().find().sort("created_at").to_list()


def with_csv(messages: Rows, path: Path) -> None:
    """csv.writer"""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(_table(messages))


def with_openpyxl(messages: Rows, path: Path) -> None:
    """openpyxl's Workbook"""
    book = openpyxl.Workbook()
    for row in _table(messages):
        book.active.append(row)
    book.save(path)


def with_write_only(messages: Rows, path: Path) -> None:
    """openpyxl write-only"""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in _table(messages):
        sheet.append(row)
    book.save(path)


@dataclass(frozen=True)
class Way:
    read: Callable[[], Awaitable[Rows]]
    write: Writer

    @property
    def title(self) -> str:
        return f"{self.read.__doc__}, {self.write.__doc__}"


WAYS: Mapping[str, Way] = {
    "csv": Way(models, with_csv),
    "openpyxl": Way(models, with_openpyxl),
    "write-only": Way(models, with_write_only),
    "documents-write-only": Way(documents, with_write_only),
}


def _table(messages: Rows) -> Iterator[list[Any]]:
    yield [column.label for column in MESSAGES.exported]
    paths = [column.name.split(".") for column in MESSAGES.exported]
    for message in messages:
        yield [_cell(message, path) for path in paths]


def _cell(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get("_id" if name == "id" else name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value if value is None or isinstance(value, str | int | float) else str(value)


async def run(folder: Path, way: str) -> None:
    async with open_database(Settings(_env_file=None, data=folder)):
        before, wall, cpu = _peak(), time.perf_counter(), time.process_time()
        messages = await WAYS[way].read()
        with tempfile.NamedTemporaryFile() as file:
            await asyncio.to_thread(WAYS[way].write, messages, Path(file.name))
            size = file.seek(0, os.SEEK_END)
    taken = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "first": None, "size": size}
    print(json.dumps({**taken, "peak": _peak(), "grown": _peak() - before}))


def _peak() -> int:
    """Resident bytes at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
