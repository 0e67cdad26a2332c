"""Posting lists: in which rows of a segment a term is, many lists at once, as bits (Elias-Fano).

Rows are ordinals from 0, ascending in each list. The lowest bits of each ordinal are stored as they are, as many as a
usual distance between two of them has. The higher parts are stored in unary: a one for each ordinal, before it as many
zeros as its part is larger than that of the ordinal before. That is about half a bit an ordinal more than could be had
at best, and is read without a loop over them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ordinals = NDArray[np.uint32]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lists:
    """Several lists: how many ordinals each one has (one at least), and the ordinals of all, list behind list."""

    counts: Counts
    ordinals: Ordinals

    @property
    def owners(self) -> NDArray[np.int64]:
        """Of each ordinal, the number of its list."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def without(self, is_removed: NDArray[np.bool_]) -> "tuple[Lists, NDArray[np.bool_]]":
        """The lists without those rows, and which of the lists are left: the others had nothing else."""
        is_kept = ~is_removed[self.ordinals]
        counts = np.bincount(self.owners[is_kept], minlength=len(self.counts))
        return Lists(counts[counts > 0], self.ordinals[is_kept]), counts > 0

    def part(self, first: int, last: int) -> "Lists":
        """The lists from a number up to before another."""
        ends = np.concatenate(([0], np.cumsum(self.counts)))
        return Lists(self.counts[first:last], self.ordinals[ends[first] : ends[last]])


@dataclass(frozen=True, slots=True)
class Bits:
    """Encoded lists."""

    lows: bytes
    highs: bytes


def sizes(counts: Counts, rows: int) -> Counts:
    """How many bits each list of a segment of so many rows takes."""
    widths = _widths(counts, rows)
    return counts * widths + _high_sizes(counts, widths, rows)


def count_of(size: int, rows: int) -> int:
    """About how many ordinals a list of so many bits has."""
    for width in range(rows.bit_length()):
        count = (size - (rows - 1 >> width) - 1) // (width + 1)
        if count > rows >> width + 1:
            return min(count, rows >> width)
    return 0


def encode(lists: Lists, rows: int) -> Bits:
    """The lists of a segment of so many rows."""
    widths = _widths(lists.counts, rows)
    high_sizes = _high_sizes(lists.counts, widths, rows)
    width = np.repeat(widths, lists.counts)
    ordinals = lists.ordinals.astype(np.int64)
    lows = np.zeros(int(width.sum()), np.bool_)
    at = np.cumsum(width) - width
    for bit in _bits(width):
        has_bit = width > bit
        lows[at[has_bit] + bit] = ordinals[has_bit] >> bit & 1
    highs = np.zeros(int(high_sizes.sum()), np.bool_)
    highs[np.repeat(np.cumsum(high_sizes) - high_sizes, lists.counts) + _places(lists.counts) + (ordinals >> width)] = (
        True
    )
    return Bits(np.packbits(lows).tobytes(), np.packbits(highs).tobytes())


def decode(bits: Bits, counts: Counts, rows: int) -> Lists:
    """All the lists of `encode`."""
    widths = _widths(counts, rows)
    high_sizes = _high_sizes(counts, widths, rows)
    lows = _unpack(bits.lows, 0, int((counts * widths).sum()))
    highs = _unpack(bits.highs, 0, int(high_sizes.sum()))
    width = np.repeat(widths, counts)
    starts = np.repeat(np.cumsum(high_sizes) - high_sizes, counts)
    ordinals = np.flatnonzero(highs) - starts - _places(counts) << width
    at = np.cumsum(width) - width
    for bit in _bits(width):
        has_bit = width > bit
        ordinals[has_bit] |= lows[at[has_bit] + bit].astype(np.int64) << bit
    return Lists(counts, ordinals.astype(np.uint32))


def decode_one(bits: Bits, counts: Counts, rows: int, number: int) -> Ordinals:
    """The list of a number, without reading the others: four times as fast, because all of its bits are alike."""
    lows, highs = _bits_of_one(bits, counts, rows, number)
    ordinals = np.flatnonzero(highs)
    ordinals -= np.arange(len(lows))
    ordinals <<= lows.shape[1]
    ordinals += _numbers(lows)
    return ordinals.astype(np.uint32)


def members(bits: Bits, counts: Counts, rows: int, number: int, some: Ordinals) -> NDArray[np.bool_]:
    """Which of some ordinals the list of a number has. Of a list that is long beside them little is read."""
    lows, highs = _bits_of_one(bits, counts, rows, number)
    width = lows.shape[1]
    parts, rests = some.astype(np.int64) >> width, some & (1 << width) - 1
    # Of equal higher parts are the ordinals between two zeros, before which there are as many zeros as that part is.
    before, behind = _places_of_zeros(highs, np.concatenate((parts - 1, parts))).reshape(2, -1)
    first, alike = before + 1 - parts, behind - before - 1
    whose = np.repeat(np.arange(len(some)), alike)
    at = np.repeat(first, alike) + _places(alike)
    is_member = np.zeros(len(some), np.bool_)
    is_member[whose[_numbers(lows[at]) == rests[whose]]] = True
    return is_member


def _bits_of_one(bits: Bits, counts: Counts, rows: int, number: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of the list of a number the low bits, a row for each ordinal, and the high ones."""
    widths = _widths(counts, rows)
    high_sizes = _high_sizes(counts, widths, rows)
    count, width = int(counts[number]), int(widths[number])
    lows = _unpack(bits.lows, int((counts[:number] * widths[:number]).sum()), count * width)
    highs = _unpack(bits.highs, int(high_sizes[:number].sum()), int(high_sizes[number]))
    return lows.reshape(count, width), highs


def _places_of_zeros(highs: NDArray[np.bool_], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where among the bits the zeros of these numbers are, counted from 0; -1 of the one before the first."""
    packed = np.packbits(highs)
    zeros = np.cumsum(8 - np.bitwise_count(packed).astype(np.int64))
    byte = np.searchsorted(zeros, numbers, "right")
    before = np.where(byte > 0, zeros[byte - 1], 0)
    is_zero = np.unpackbits(packed[byte, np.newaxis], axis=1) == 0
    place = (np.cumsum(is_zero, axis=1) <= (numbers - before)[:, np.newaxis]).sum(axis=1)
    return np.where(numbers < 0, -1, byte * 8 + place)


def _numbers(lows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What the bits of each row are, the lowest one first. Exact, and three times as fast as among integers."""
    return (lows.astype(np.float64) @ 2.0 ** np.arange(lows.shape[1])).astype(np.int64)


def _widths(counts: Counts, rows: int) -> Counts:
    """How many low bits the ordinals of each list have: the whole part of log2(rows / count)."""
    widths: Counts = np.frexp(rows // counts)[1].astype(np.int64) - 1
    return widths


def _high_sizes(counts: Counts, widths: Counts, rows: int) -> Counts:
    return counts + (rows - 1 >> widths) + 1


def _places(counts: Counts) -> Counts:
    """Of each ordinal, its place in its list."""
    total = int(counts.sum())
    places: Counts = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def _bits(width: Counts) -> Iterator[int]:
    return iter(range(int(width.max(initial=0))))


def _unpack(data: bytes, first: int, count: int) -> NDArray[np.bool_]:
    """So many bits from one on."""
    whole = np.frombuffer(data, np.uint8, offset=first // 8, count=(first + count + 7) // 8 - first // 8)
    return np.unpackbits(whole)[first % 8 : first % 8 + count].view(np.bool_)


def varints(numbers: Counts) -> bytes:
    """Numbers from 0 to 2**35 - 1, seven bits a byte, lowest first; the last byte of each has no high bit (LEB128)."""
    sizes = np.ones(len(numbers), np.int64)
    for more in range(1, 5):
        sizes += numbers >= 1 << 7 * more
    starts = np.cumsum(sizes) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    for place in range(int(sizes.max(initial=0))):
        chosen = sizes > place
        has_more = (sizes[chosen] > place + 1) * 128
        out[starts[chosen] + place] = (numbers[chosen] >> 7 * place & 127) | has_more
    return out.tobytes()


def from_varints(data: bytes) -> Counts:
    """The numbers of `varints`."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 128)
    if len(ends) == len(raw):
        return raw.astype(np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(raw)) - np.repeat(starts, ends - starts + 1)
    return np.add.reduceat((raw & 127).astype(np.int64) << 7 * places, starts)
