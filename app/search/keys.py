"""Keys: the place of each of a segment's rows in the list, and its id, in the order of the list.

`created_at` in milliseconds since 1970, then the id's twelve bytes. Ordinals count them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

CHUNK = 128
"""Keys that are stored together: few, because what is found is mostly far apart."""
ID_BYTES = 12
REMOVED = bytes(ID_BYTES)
"""The id of a row that was removed."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[int, bytes]
"""A time and an id, compared like the rows of the list."""


def key_of(instant: datetime, id: ObjectId) -> Key:
    return milliseconds(instant), id.binary


def milliseconds(instant: datetime) -> int:
    """Since 1970, as the database keeps it."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def instant(milliseconds: int) -> datetime:
    """Of so many since 1970."""
    return EPOCH + timedelta(milliseconds=milliseconds)


@dataclass(frozen=True)
class Keys:
    """Keys in ascending order; `ids` is a table of so many rows of twelve bytes."""

    times: NDArray[np.int64]
    ids: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, ordinal: int) -> Key:
        return int(self.times[ordinal]), self.ids[ordinal].tobytes()

    @classmethod
    def of(cls, keys: list[Key]) -> "Keys":
        """From a sorted list."""
        ids = np.frombuffer(b"".join(id for _, id in keys), np.uint8).reshape(-1, ID_BYTES)
        return cls(np.array([time for time, _ in keys], np.int64), ids)

    @classmethod
    def joined(cls, parts: "list[Keys]") -> "Keys":
        """One behind the other, in whatever order that is."""
        return cls(np.concatenate([part.times for part in parts]), np.concatenate([part.ids for part in parts]))

    def pack(self) -> tuple[bytes, bytes]:
        """Byte for byte by columns, in which neighbours are alike and which therefore compress well."""
        times = self.times.astype(">i8").view(np.uint8).reshape(-1, 8)
        return times.T.tobytes(), self.ids.T.tobytes()

    @classmethod
    def unpack(cls, times: bytes, ids: bytes) -> "Keys":
        columns = np.frombuffer(times, np.uint8).reshape(8, -1).T
        return cls(
            np.ascontiguousarray(columns).view(">i8").ravel().astype(np.int64),
            np.ascontiguousarray(np.frombuffer(ids, np.uint8).reshape(ID_BYTES, -1).T),
        )

    def part(self, first: int, last: int) -> "Keys":
        """Those from a number up to before another."""
        return Keys(self.times[first:last], self.ids[first:last])

    def chunk(self, number: int) -> "Keys":
        return self.part(number * CHUNK, (number + 1) * CHUNK)

    def order(self) -> NDArray[np.int64]:
        """The places of the keys, sorted."""
        high = np.ascontiguousarray(self.ids[:, :8]).view(">u8").ravel()
        low = np.ascontiguousarray(self.ids[:, 8:]).view(">u4").ravel()
        return np.lexsort((low, high, self.times))

    def without(self, is_removed: NDArray[np.bool_]) -> "Keys":
        """The same with zeros in the places of the ids of removed rows."""
        return Keys(self.times, np.where(is_removed[:, np.newaxis], np.uint8(0), self.ids))

    def gone(self) -> NDArray[np.bool_]:
        """Which of the rows were removed."""
        gone: NDArray[np.bool_] = (self.ids == 0).all(axis=1)
        return gone


@dataclass(frozen=True, slots=True)
class Chunk:
    """Packed keys, of which few are looked at."""

    times: bytes
    ids: bytes

    def key(self, number: int) -> Key:
        count = len(self.ids) // ID_BYTES
        return int.from_bytes(self.times[number::count], signed=True), self.ids[number::count]

    def unpack(self) -> Keys:
        return Keys.unpack(self.times, self.ids)
