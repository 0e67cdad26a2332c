"""The replica set of one member: its address, which is a unix socket, and how its member becomes primary."""

import hashlib
import os
import re
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from app.mongod.failures import MongodUnavailable
from app.mongod.folder import DataFolder

REPLICA_SET = "rs0"

_NOT_YET_INITIALIZED = 94
_ELECTION_TIMEOUT = 1000  # milliseconds

# PyMongo lower-cases the members it discovers, sockets too, and MongoDB splits addresses at commas and colons. The
# kernel's limit is 107 bytes on Linux and 103 on macOS.
_SAFE_SOCKET = re.compile(r"[a-z0-9_./-]{1,100}")


def socket_uri(path: str, options: str = f"replicaSet={REPLICA_SET}") -> str:
    """The MongoDB URI of a unix socket."""
    return f"mongodb://{quote(path, safe='')}/?{options}"


def choose_socket(folder: DataFolder, previous: str) -> Path:
    """Where mongod listens: in the data folder or, where its path will not do, in a short private folder.

    `previous`: the socket before; its private folder is used again, so that users who stayed find mongod there.
    Raises MongodUnavailable.
    """
    place = folder.path / "mongod.sock"
    if _SAFE_SOCKET.fullmatch(str(place)):
        return place
    prefix = f"verbatim-{hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:12]}-"
    before = Path(previous)
    if before.parent.name.startswith(prefix) and _is_private(before.parent):
        return before
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 (made private below)
        if base and _SAFE_SOCKET.fullmatch(f"{base}/{prefix}12345678/mongod.sock") and os.access(base, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=base), "mongod.sock")
    raise MongodUnavailable("There is no folder for MongoDB's socket: make /tmp writable, or set XDG_RUNTIME_DIR.")


def _is_private(folder: Path) -> bool:
    try:
        facts = folder.lstat()
    except FileNotFoundError:
        return False
    return facts.st_uid == os.getuid() and facts.st_mode == stat.S_IFDIR | 0o700


def is_listening(path: str) -> bool:
    """Whether somebody accepts connections on this unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def make_primary(path: str) -> bool:
    """One step towards a writable primary: whether it is one; if not, see to it that the replica set is this member.

    The configuration names the member by its socket. In a data folder that was moved it names another place, and mongod
    would wait there for ever, so the member is replaced by force. Raises PyMongoError.
    """
    member = {"_id": 0, "host": path}
    direct = socket_uri(path, "directConnection=true")
    with MongoClient[dict[str, Any]](direct, serverSelectionTimeoutMS=1000) as client:
        if client.admin.command("hello")["isWritablePrimary"]:
            return True
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            settings = {"electionTimeoutMillis": _ELECTION_TIMEOUT}
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member], "settings": settings})
            return False
        if [each["host"] for each in config["members"]] != [path]:
            config |= {"version": config["version"] + 1, "members": [member]}
            client.admin.command("replSetReconfig", config, force=True)
    return False
