"""`Range`: the part of a file that a client asks for (RFC 9110, section 14)."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*")


@dataclass(frozen=True)
class Part:
    """The bytes from `start` up to `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The part lies behind the end of the file."""


def parse_range(header: str | None, size: int) -> Part | None:
    """The part; None for the whole file, which is also the answer to what is no range of bytes, and to several.

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(header.lower()) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        if int(last) == 0 or size == 0:
            raise Unsatisfiable
        return Part(max(0, size - int(last)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return Part(start, min(size, int(last) + 1) if last else size)
