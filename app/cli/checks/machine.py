"""This machine: its disk, and how many files a process may open."""

import asyncio
import shutil
import sys

from app.cli.checks.finding import Finding
from app.cli.checks.members import FREE_BYTES, disks, look_at_members
from app.services import Services

_OWN_FILES = 200
"""Of a server beside its clients' connections: those to MongoDB and to language models, logs, the program's own."""


async def disk(services: Services) -> Finding:
    """Where the data is: here, or on the members' machines."""
    folder = services.settings.data
    if services.settings.mongo_uri is not None:
        return disks(await look_at_members(services))
    free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
    return Finding(free >= FREE_BYTES, f"{free / FREE_BYTES:.1f} GiB free in {folder}; at least 1 GiB should be")


async def open_files(services: Services) -> Finding:
    """A server that may open no further file accepts nobody."""
    if sys.platform == "win32":
        return Finding(True, "are not limited on this system")
    import resource  # noqa: PLC0415 not on every platform

    most, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], services.settings.max_connections + _OWN_FILES
    if most == resource.RLIM_INFINITY or most >= needed:
        return Finding(True, "as many as VERBATIM_MAX_CONNECTIONS needs may be open")
    advice = (
        f"{most:,} may be open here, VERBATIM_MAX_CONNECTIONS={services.settings.max_connections} needs {needed:,}:"
        " raise the limit (ulimit -n, LimitNOFILE=), or lower the setting"
    )
    return Finding(services.settings.environment != "production", advice)
