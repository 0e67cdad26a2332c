"""Gathering: the rows of a segment to be, read piece by piece, so that each step is short and few texts are in memory.

A large segment is written once, where small ones would be merged and written again and again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from app.kit.repository import Row
from app.kit.threads import in_thread
from app.search.building import Draft, Drafting, Text
from app.search.keys import Key
from app.search.table import Table

_PIECE_ROWS = 10_000
_MOST_CHARACTERS = 10 * 2**20
"""Of all texts of a segment: what is known of them until it is written takes about fifteen bytes each."""

ReadRows = Callable[[Key | None, int], Awaitable[tuple[list[Row], bool]]]
"""Reads so many rows in order behind a place, and tells whether they are the last ones."""


@dataclass(frozen=True)
class Gathered:
    """A segment with the place of its last row; `is_last`: no row came behind it when that was read."""

    draft: Draft
    last: Key
    is_last: bool


class Gathering:
    """Rows of `read`, up to `most`, on their way into a segment."""

    def __init__(self, table: Table, read: ReadRows, start: Key | None, most: int) -> None:
        self._table = table
        self._read = read
        self._last = start
        self._most = most
        self._drafting = Drafting()
        self._is_last = False

    def __len__(self) -> int:
        return len(self._drafting)

    @property
    def is_complete(self) -> bool:
        """Whether the segment is to be written now."""
        return self._is_last or len(self) >= self._most or self._drafting.characters >= _MOST_CHARACTERS

    async def read_on(self) -> int:
        """Read the next piece; answers how many rows it has."""
        rows, self._is_last = await self._read(self._last, min(_PIECE_ROWS, self._most - len(self)))
        if rows:
            await self._table.store_forms(await in_thread(partial(self._add, rows)))
        return len(rows)

    def _add(self, rows: Sequence[Row]) -> Sequence[Text]:
        """Answers the texts whose normal forms have to be stored before the rows count as indexed."""
        texts = [self._table.text_of(row) for row in rows]
        self._drafting.add(texts)
        self._last = texts[-1].key
        return [text for row, text in zip(rows, texts, strict=True) if self._table.lacks_form(row, text)]

    async def finish(self) -> Gathered | None:
        """The segment; None when there were no rows."""
        if not len(self) or self._last is None:
            return None
        return Gathered(await in_thread(self._drafting.finish), self._last, self._is_last)
