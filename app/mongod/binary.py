"""Which mongod to run."""

import importlib.util
import shutil
import sys
from pathlib import Path

from app.mongod.failures import INSTALL, MongodUnavailable


def find_mongod(configured: Path | None) -> Path:
    """The mongod to run: the configured one, the one of the optional wheel, or the one on PATH.

    Raises MongodUnavailable where there is none. Looks at files, so call it in a thread.
    """
    if sys.platform == "win32":
        raise MongodUnavailable("The embedded MongoDB needs Linux or macOS: set VERBATIM_MONGO_URI to a replica set.")
    if configured is not None:
        found = shutil.which(configured.expanduser().absolute())
        if found is None:
            raise MongodUnavailable(f"VERBATIM_MONGOD names {configured}, which is not an executable file.")
        return Path(found)
    found = _wheel_mongod() or shutil.which("mongod")
    if found is None:
        raise MongodUnavailable(f"There is no mongod on this machine: {INSTALL}.")
    return Path(found).absolute()


def _wheel_mongod() -> str | None:
    # The top-level package is found without importing it; to look for a submodule would import it.
    package = importlib.util.find_spec("fiftyone")
    folders = (package.submodule_search_locations if package else None) or ()
    candidates = (shutil.which(Path(folder, "db", "bin", "mongod")) for folder in folders)
    return next(filter(None, candidates), None)
