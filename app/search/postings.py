"""Posting lists: in which rows of a segment a term is, as bytes.

Rows are ascending ordinals from 0. A list is stored as the gaps between them, seven bits a byte (LEB128), or, where
that is smaller, as one bit for each row of the segment.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ordinals = NDArray[np.uint32]
"""Ascending."""
Bytes = NDArray[np.uint8]

_FEW = 12
"""Up to so many numbers plain Python is faster."""
_MOST_BYTES = 5


class Postings(NamedTuple):
    """An encoded list; `is_bitmap` tells the form."""

    data: bytes
    is_bitmap: bool


def encode(ordinals: Ordinals, rows: int) -> Postings:
    """The list of a segment of so many rows, at least one of which is in it."""
    bitmap_size = (rows + 7) // 8
    if len(ordinals) < bitmap_size:
        gaps = varints(np.diff(ordinals.astype(np.int64), prepend=-1) - 1)
        if len(gaps) < bitmap_size:
            return Postings(gaps, is_bitmap=False)
    return Postings(np.packbits(as_mask(ordinals, rows)).tobytes(), is_bitmap=True)


def decode(postings: Postings) -> Ordinals:
    """The rows of a list."""
    if postings.is_bitmap:
        return np.flatnonzero(np.unpackbits(np.frombuffer(postings.data, np.uint8))).astype(np.uint32)
    gaps = from_varints(postings.data)
    return (np.cumsum(gaps + 1) - 1).astype(np.uint32)


def as_mask(ordinals: Ordinals, rows: int) -> NDArray[np.bool_]:
    """One truth value for each row."""
    mask = np.zeros(rows, np.bool_)
    mask[ordinals] = True
    return mask


def varints(numbers: NDArray[np.int64]) -> bytes:
    """Numbers from 0 to 2**35 - 1, seven bits a byte, the lowest first; the last byte of each has no high bit."""
    if len(numbers) <= _FEW:
        return b"".join(map(_varint, numbers.tolist()))
    sizes = 1 + sum((numbers >= 1 << 7 * more).astype(np.int64) for more in range(1, _MOST_BYTES))
    starts = np.cumsum(sizes) - sizes
    out = np.empty(int(starts[-1] + sizes[-1]), np.uint8)
    for place in range(_MOST_BYTES):
        chosen = sizes > place
        if not chosen.any():
            break
        has_more = (sizes[chosen] > place + 1) * 128
        out[starts[chosen] + place] = (numbers[chosen] >> 7 * place & 127) | has_more
    return out.tobytes()


def _varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def from_varints(data: bytes) -> NDArray[np.int64]:
    """The numbers of `varints`."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 128)
    if len(ends) == len(raw):
        return raw.astype(np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(raw)) - np.repeat(starts, ends - starts + 1)
    return np.add.reduceat((raw & 127).astype(np.int64) << 7 * places, starts)
