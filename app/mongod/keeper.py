"""The keeper: the process that owns the mongod of one data folder (`python -m app.mongod.keeper DATA MONGOD`).

It runs mongod as a replica set of one member on a unix socket only, starts it again after a crash, and stops it when
nobody has held `users.lock` for a second. It belongs to no user: it detaches itself at the start, ignores signals that
are meant for them, and a second keeper of a folder leaves at once. Killed itself, it takes mongod along, cleanly (on
Linux; elsewhere the next keeper does). Whatever happens it says so in `keeper.json`, a failure in one sentence.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from app.mongod.failures import INSTALL, MongodUnavailable, explain
from app.mongod.folder import DataFolder, FileLock, Status, read_end
from app.mongod.memory import cache_gib
from app.mongod.replica_set import REPLICA_SET, choose_socket, is_listening, make_primary

_GRACE = 1.0  # seconds without users until mongod is stopped: a reload or the next command finds it running
_POLL_INTERVAL = 0.1
_STOP_TIMEOUT = 30.0  # seconds from SIGTERM to SIGKILL
_STABLE = 1.0  # seconds of service after which a crash is the first one again
_PAUSES = (0.0, 0.0, 0.25, 0.5, 1.0, 2.0)  # seconds before the first start and after the n-th crash in a row
_LOG_LIMIT = 16 * 1024 * 1024  # bytes of mongod.log after which it becomes mongod.log.1
_KILLED = (0, -signal.SIGTERM, -signal.SIGKILL)  # exit statuses of a mongod that was ended from outside
_PR_SET_PDEATHSIG = 1


class Keeper:
    """Runs mongod for as long as the folder has users."""

    def __init__(self, folder: DataFolder, mongod: Path, status: Status) -> None:
        """`status`: the last word of the keeper before this one."""
        self._folder = folder
        self._mongod = mongod
        self._status = status
        self._users = FileLock(folder.users_lock)
        self._users_seen_at = time.monotonic()
        self._log_start = 0

    def run(self) -> None:
        """Return when mongod was stopped because its users have left; raise MongodUnavailable if it cannot be run."""
        self._await_predecessor()
        self._say(socket=str(choose_socket(self._folder, self._status.socket)))
        crashes = 0
        while True:
            time.sleep(_PAUSES[crashes])
            process = self._spawn()
            ready_at = self._await_primary(process)
            while self._is_wanted(process):
                time.sleep(_POLL_INTERVAL)
            if process.poll() is None:
                return self._stop(process)
            served = 0.0 if ready_at is None else time.monotonic() - ready_at
            crashes = 1 if served >= _STABLE else crashes + 1
            is_hopeless = ready_at is None and process.returncode not in _KILLED
            if is_hopeless or crashes == len(_PAUSES):
                raise MongodUnavailable(self._diagnose(process.returncode))
            _note(f"mongod ended with exit status {process.returncode} after {served:.1f} s of service; starting again")

    def fail(self, sentence: str) -> None:
        """Leave the reason to the users; the socket stays known, so that the next keeper serves at the same place."""
        _note(sentence)
        self._say(state="failed", error=sentence)

    def _say(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)
        self._folder.publish(self._status)

    def _is_abandoned(self) -> bool:
        """Whether the users have left; the lock is then kept, so that new ones wait until this keeper is gone."""
        if not self._users.take():
            self._users_seen_at = time.monotonic()
            return False
        if time.monotonic() - self._users_seen_at >= _GRACE:
            return True
        self._users.release()
        return False

    def _is_wanted(self, process: subprocess.Popen[bytes]) -> bool:
        return process.poll() is None and not self._is_abandoned()

    def _await_predecessor(self) -> None:
        """The mongod of a keeper that was killed is still closing its files, or does not know that it should."""
        lock = self._folder.db / "mongod.lock"
        if not lock.exists() or lock.read_bytes().strip() != str(self._status.mongod).encode():
            return
        deadline = time.monotonic() + _STOP_TIMEOUT
        predecessor = FileLock(lock)
        if sys.platform != "linux" and predecessor.is_taken():
            os.kill(self._status.mongod, signal.SIGTERM)
        while predecessor.is_taken() and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)
        predecessor.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._folder.db.mkdir(mode=0o700, exist_ok=True)
        self._log_start = _rotate(self._folder.log)
        try:
            with self._folder.output.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 (the mongod of our settings)
                    self._command(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._folder.path,
                    preexec_fn=end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509 (no threads)
                )
        except OSError as error:
            reason = f"{self._mongod} cannot be run on this machine ({error.strerror}): {INSTALL}."
            raise MongodUnavailable(reason) from error
        self._say(state="starting", mongod=process.pid)
        return process

    def _command(self) -> list[str]:
        return [
            str(self._mongod),
            *("--dbpath", str(self._folder.db)),
            *("--logpath", str(self._folder.log), "--logappend"),
            *("--bind_ip", self._status.socket, "--nounixsocket"),  # this socket only: no port, nothing in /tmp
            *("--replSet", REPLICA_SET, "--oplogSize", "64"),
            *("--wiredTigerCacheSizeGB", str(cache_gib())),
            *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),  # 15 MB of disk, not 315
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # For so long (and half as long again) a killed writer's open transaction blocks its conversation: well
            # under the deadline of the writers behind it, which the default of 60 s is not.
            *("--setParameter", "transactionLifetimeLimitSeconds=5"),
            "--noscripting",  # $function ignores maxTimeMS
        ]

    def _await_primary(self, process: subprocess.Popen[bytes]) -> float | None:
        """When the primary became writable, on the monotonic clock; None if mongod or its users left before."""
        trouble = ""
        while self._is_wanted(process):
            try:
                if is_listening(self._status.socket) and make_primary(self._status.socket):
                    self._say(state="ready", error="")
                    return time.monotonic()
            except PyMongoError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    _note(f"mongod is not ready yet: {trouble}")
            time.sleep(_POLL_INTERVAL / 4)
        return None

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            _note(
                f"mongod did not end within {_STOP_TIMEOUT:g} s and is killed; its journal keeps what it acknowledged"
            )
            process.kill()
            process.wait()
        place = Path(self._status.socket)
        place.unlink(missing_ok=True)
        if place.parent != self._folder.path:
            place.parent.rmdir()
        self._say(state="stopped", socket="", mongod=0)

    def _diagnose(self, exit_status: int) -> str:
        logged = self._folder.log.stat().st_size - self._log_start if self._folder.log.exists() else 0
        said = read_end(self._folder.output) + "\n" + read_end(self._folder.log, logged)
        return explain(exit_status, said, data=self._folder.path, mongod=self._mongod)


def end_with_parent() -> Callable[[], None]:
    """What a child does before it becomes mongod, so that the kernel sends it SIGTERM when this process dies.

    The kernel watches the thread that started the child: call `Popen` in the main thread.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before that
            os._exit(1)

    return prepare


def _rotate(log: Path) -> int:
    """The size of the log in bytes, after a long one was put aside."""
    size = log.stat().st_size if log.exists() else 0
    if size < _LOG_LIMIT:
        return size
    log.replace(log.with_name("mongod.log.1"))
    return 0


def _note(sentence: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {sentence}\n")


def _take(lock: FileLock) -> bool:
    # A user who looks whether there is a keeper has the lock for an instant.
    for _ in range(20):
        if lock.take():
            return True
        time.sleep(0.01)
    return False


def main(data: str, mongod: str) -> int:
    """Keep the mongod of this folder; 0 at once if another keeper does."""
    folder = DataFolder(Path(data))
    lock = FileLock(folder.keeper_lock)
    if not _take(lock):
        return 0
    status = replace(folder.read_status(), state="starting", error="")
    folder.publish(status)
    if os.fork() != 0:
        os._exit(0)  # whoever launched this goes on; the child has the lock and belongs to nobody
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # its users decide when it ends
    keeper = Keeper(folder, Path(mongod), status)
    try:
        keeper.run()
    except MongodUnavailable as error:
        keeper.fail(str(error))
        return 1
    except Exception as error:
        keeper.fail(f"The keeper of the embedded MongoDB failed ({error!r}); see {folder.keeper_log}.")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
