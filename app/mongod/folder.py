"""The data folder: its files, its locks and what its keeper last said."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

if sys.platform != "win32":
    import fcntl


class FileLock:
    """An advisory lock on a whole file: no call waits, and the kernel drops it when its holder dies in any way."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file can be neither opened nor created."""
        path.touch(mode=0o600)
        self._file = path.open("ab")

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self._file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> bool:
        """Take the lock beside others that share it; False when somebody has it alone."""
        return self._try(fcntl.LOCK_SH)

    def take(self) -> bool:
        """Take the lock alone, also when it was shared before; False when somebody else has it in any way."""
        return self._try(fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def is_taken(self) -> bool:
        """Whether somebody else has the lock alone; to find out, a lock held through this object is given up."""
        if not self.share():
            return True
        self.release()
        return False

    def close(self) -> None:
        """Give the lock up, if it is held here."""
        self._file.close()


@dataclass(frozen=True)
class Status:
    """What the keeper last said; `socket` and `mongod` (a process id) stay known after a failure."""

    state: Literal["starting", "ready", "failed", "stopped"]
    socket: str = ""
    mongod: int = 0
    error: str = ""


class DataFolder:
    """The files of one embedded MongoDB."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.db = self.path / "db"
        self.log = self.path / "mongod.log"
        self.output = self.path / "mongod.out"
        self.keeper_log = self.path / "keeper.log"
        self.users_lock = self.path / "users.lock"
        self.keeper_lock = self.path / "keeper.lock"
        self._status = self.path / "keeper.json"

    def read_status(self) -> Status:
        """The keeper's last word; `stopped` when none can be read."""
        try:
            return Status(**json.loads(self._status.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):  # never written, or lost to a power cut
            return Status("stopped")

    def publish(self, status: Status) -> None:
        """Replace the keeper's last word in one step, so that no reader ever sees half of it."""
        draft = self._status.with_suffix(".new")
        draft.write_text(json.dumps(asdict(status)), encoding="utf-8")
        draft.replace(self._status)


def read_end(log: Path, size: int = 20_000) -> str:
    """The last `size` bytes of a log file as text; empty when there is none."""
    try:
        content = log.read_bytes()
    except FileNotFoundError:
        return ""
    return content[max(0, len(content) - size) :].decode("utf-8", "replace")
