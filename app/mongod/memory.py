"""How much memory the embedded mongod may keep pages in."""

import os
from contextlib import suppress
from pathlib import Path

_SHARE = 8
_LEAST_GIB, _MOST_GIB = 0.25, 1.0  # less is not allowed by MongoDB; more is for a MongoDB of one's own
_CONTAINERS_LIMIT = Path("/sys/fs/cgroup/memory.max")


def cache_gib(limit_file: Path = _CONTAINERS_LIMIT) -> float:
    """An eighth of the machine's memory, or of the container's, within bounds: others live here too.

    What does not fit is unpacked anew at each read: there searches of a million messages spend their time.
    """
    memory = 0
    with suppress(OSError, ValueError):  # not every system tells
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or "max"
        memory = min(memory, int(limit_file.read_text()))
    return round(max(_LEAST_GIB, min(memory / _SHARE / 2**30, _MOST_GIB)), 2)
