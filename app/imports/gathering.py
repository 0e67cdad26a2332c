"""Conversations of files that have a row a message: the rows of each are brought together, wherever they stand."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

from app.imports.mapping import CONVERSATION_ID, ColumnMap
from app.imports.records import BadRecord, Pause, Record
from app.imports.row_groups import TableRow, build_group
from app.imports.spool import GROUP_LIMIT, Row, Spool

PAUSE_ROWS = 5000

Keyed = tuple[str, Row]


class Grouping(Protocol):
    """What rows of a format are: how a group of them is a conversation, and how a row came."""

    def build(self, key: str, rows: Sequence[Row]) -> Iterable[Record]: ...
    def raw(self, cells: Mapping[str, Any]) -> object: ...


def gather(
    rows: Iterable[Keyed | BadRecord], grouping: Grouping, note: Callable[[float], None]
) -> Generator[Record | Pause, None, None]:
    """A record for each group, and the bad rows; pauses while there are none. `note`: how much of the groups is
    done."""
    with closing(Spool()) as spool:
        for number, row in enumerate(rows, start=1):
            if isinstance(row, BadRecord):
                yield row
            else:
                spool.add(*row)
            if number % PAUSE_ROWS == 0:
                yield Pause()
        total = spool.count()
        for number, (key, group) in enumerate(spool.groups()):
            note(number / total)
            if isinstance(group, int):
                reason = f"Its conversation has {group:,} characters of JSON, more than {GROUP_LIMIT:,}"
                for position, cells in spool.rows(key):
                    yield BadRecord(position, reason, grouping.raw(cells))
            else:
                yield from grouping.build(key, group)


class TableRows:
    """Rows of tables on their way through the spool."""

    def __init__(self) -> None:
        self._maps: list[ColumnMap] = []

    def keyed(self, rows: Iterable[TableRow | BadRecord]) -> Iterator[Keyed | BadRecord]:
        """The rows with their conversations."""
        for row in rows:
            if isinstance(row, BadRecord):
                yield row
                continue
            key = row.columns.value(CONVERSATION_ID, row.cells)
            if key in (None, "") or not isinstance(key, str | int | float):
                yield row.bad("The conversation is missing")
                continue
            cells = {"map": self._number(row.columns), "place": row.place, "cells": row.cells}
            yield str(key).strip(), (row.position, cells)

    def build(self, key: str, rows: Sequence[Row]) -> Iterator[Record]:
        """The conversation of a group, or what is wrong with its rows."""
        return build_group(
            key,
            [TableRow(self._maps[cells["map"]], position, cells["cells"], cells["place"]) for position, cells in rows],
        )

    def raw(self, cells: Mapping[str, Any]) -> object:
        return cells["cells"]

    def _number(self, columns: ColumnMap) -> int:
        if not self._maps or self._maps[-1] is not columns:
            self._maps.append(columns)
        return len(self._maps) - 1

    @property
    def shown(self) -> dict[str, str]:
        """The heading of each field, as far as rows were read."""
        return {field: heading for columns in self._maps for field, heading in columns.headings.items()}
