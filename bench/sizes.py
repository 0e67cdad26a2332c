"""How large the stored messages and what finds them are."""

from typing import Any

from rich.table import Table

from app.database import Database
from bench.stored import Stored
from bench.tables import MEBIBYTE, ratio, table

SEARCH_PREFIX = "search_"
"""How the names of the search index's collections begin."""


async def sizes(database: Database, stored: Stored) -> Table:
    """Text, rows and indexes of the messages, and the search index, each as a multiple of the text."""
    collections = database.client[database.name]
    await database.client.admin.command("fsync")  # until a checkpoint the sizes of files are older
    text = stored.text_bytes
    messages = await collections.command("collStats", "messages")
    characters = sum(map(len, stored.texts)) / len(stored.texts)
    made = table(
        f"sizes; a message has {characters:.0f} characters, {text / len(stored.texts):.0f} bytes as UTF-8",
        *("", "MiB", "of the text"),
    )
    search = [
        await collections.command("collStats", name)
        for name in await collections.list_collection_names()
        if name.startswith(SEARCH_PREFIX)
    ]
    for name, size in {
        "text": text,
        "messages as BSON": messages["size"],
        "messages on disk": messages["storageSize"],
        "their indexes on disk": messages["totalIndexSize"],
        "search index as BSON": _total(search, "size"),
        "search index on disk, with its own indexes": _total(search, "storageSize") + _total(search, "totalIndexSize"),
        "of that free, to be written to again": sum(map(reusable, search)),
    }.items():
        made.add_row(name, f"{size / MEBIBYTE:,.1f}", ratio(size, text))
    return made


def _total(stats: list[dict[str, Any]], name: str) -> int:
    return sum(int(each[name]) for each in stats)


def reusable(stats: dict[str, Any]) -> int:
    """Bytes of a collection's file in which nothing is stored now."""
    return int(stats["wiredTiger"]["block-manager"]["file bytes available for reuse"])
