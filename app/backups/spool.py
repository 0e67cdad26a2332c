"""Which documents have changed: a set of collections and ids that may be larger than memory, in a temporary file of
SQLite's, which removes it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import bson


class Spool:
    """A context manager. Blocks: use it in threads, one call at a time."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute("CREATE TABLE ids (name TEXT, id BLOB, PRIMARY KEY (name, id)) WITHOUT ROWID")

    def add(self, keys: list[tuple[str, Any]]) -> None:
        """Collections and ids, of which some may be there already."""
        rows = ((name, bson.encode({"_id": id})) for name, id in keys)
        self._rows.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", rows)

    def batches(self, size: int) -> Iterator[tuple[str, list[bytes]]]:
        """All ids, each as the BSON of `{"_id": id}`, in lists of one collection each."""
        with closing(self._rows.execute("SELECT DISTINCT name FROM ids ORDER BY name")) as names:
            every = [name for (name,) in names]
        for name in every:
            with closing(self._rows.execute("SELECT id FROM ids WHERE name = ? ORDER BY id", (name,))) as ids:
                while batch := [id for (id,) in ids.fetchmany(size)]:
                    yield name, batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.close()
