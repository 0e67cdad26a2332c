"""This machine: how many files a process may open."""

import sys

from app.cli.checks.finding import Finding
from app.services import Services

_OWN_FILES = 200
"""Of a server beside its clients' connections: those to MongoDB and to language models, logs, the program's own."""


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
