"""Rows that belong together, wherever they stand in a file: kept in a temporary database on disk until all are read.

Memory holds a page cache and one group. The file is made in the system's folder for temporary files and removed with
its last use; it takes about as much room as the rows themselves.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.imports.streams import UnreadableSource

GROUP_LIMIT = 64 * 1024 * 1024  # characters of JSON: as a line of JSON Lines
SPOOL_LIMIT = 16 * 1024 * 1024 * 1024  # bytes
PENDING_ROWS = 500
_PAGE = 4096
_SCHEMA = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA temp_store = FILE;
    PRAGMA cache_size = -16384;
    CREATE TABLE groups (number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, size INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE rows (number INTEGER NOT NULL, body TEXT NOT NULL);
"""

Row = tuple[int, dict[str, Any]]
"""Its position in the file, and its cells."""


class Spool:
    """Groups of rows, in the order in which the first of each came. Every method blocks; one thread at a time."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="verbatim-import-", ignore_cleanup_errors=True)
        self._database = sqlite3.connect(
            Path(self._folder.name) / "rows.sqlite3", isolation_level=None, check_same_thread=False
        )
        self._database.executescript(_SCHEMA)
        self._database.execute(f"PRAGMA max_page_count = {SPOOL_LIMIT // _PAGE}")
        self._database.execute("BEGIN")
        self._pending: list[tuple[str, str]] = []

    def add(self, key: str, row: Row) -> None:
        """Put a row into the group of this key; raises UnreadableSource when the disk or the limit is full."""
        self._pending.append((json.dumps(key), json.dumps(row)))  # ASCII: SQLite takes no half surrogates
        if len(self._pending) >= PENDING_ROWS:
            self._flush()

    def _flush(self) -> None:
        try:
            self._write()
        except sqlite3.Error as error:
            raise UnreadableSource(
                f"The rows do not fit the folder for temporary files ({self._folder.name}): {error}"
            ) from error
        self._pending.clear()

    def _write(self) -> None:
        execute = self._database.executemany
        execute(
            "INSERT INTO groups (key, size) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET size = size + excluded.size",
            [(key, len(body)) for key, body in self._pending],
        )
        execute(
            "INSERT INTO rows SELECT number, ? FROM groups WHERE key = ?", [(body, key) for key, body in self._pending]
        )

    def groups(self) -> Iterator[tuple[str, Sequence[Row] | int]]:
        """The key of each group and its rows as they came; of one beyond the limit only its size in characters."""
        self._flush()
        self._database.execute("CREATE INDEX by_group ON rows (number)")
        for number, key, size in self._database.execute("SELECT number, key, size FROM groups ORDER BY number"):
            yield json.loads(key), size if size > GROUP_LIMIT else list(self._rows(number))

    def rows(self, key: str) -> Iterator[Row]:
        """The rows of one group, one at a time."""
        (number,) = self._database.execute("SELECT number FROM groups WHERE key = ?", [json.dumps(key)]).fetchone()
        return self._rows(number)

    def count(self) -> int:
        """How many groups there are."""
        self._flush()
        (number,) = self._database.execute("SELECT COUNT(*) FROM groups").fetchone()
        return int(number)

    def _rows(self, number: int) -> Iterator[Row]:
        for (body,) in self._database.execute("SELECT body FROM rows WHERE number = ? ORDER BY rowid", [number]):
            position, cells = json.loads(body)
            yield position, cells

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._database.close()
        self._folder.cleanup()
