"""`verbatim backup` and `verbatim restore`: files, pipes, refusals, and kill -9 in the middle."""

import io
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from app.backups.failures import DamagedBackup
from app.backups.reading import BackupReader
from app.mongod import find_mongod
from tests.cli.command import SCRIPT, Verbatim

pytestmark = pytest.mark.mongod

COPY = "verbatim_test_cli_copy"


@pytest.fixture
def copy(verbatim: Verbatim) -> Iterator[Any]:
    """An empty database beside."""
    with MongoClient[dict[str, Any]](verbatim.uri) as client:
        client.drop_database(COPY)
        yield client[COPY]
        client.drop_database(COPY)


def started(verbatim: Verbatim, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own, to be killed."""
    environment = os.environ | verbatim._environment({})
    return subprocess.Popen([SCRIPT, *arguments], env=environment, cwd=verbatim.folder, stderr=-1, **options)


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Another process raises no event here."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def emails(database: Any) -> set[str]:
    return {row["email"] for row in database["users"].find()}


def test_a_database_is_written_to_a_file_and_restored_from_it(verbatim: Verbatim, stored: Any, copy: Any) -> None:
    verbatim("user", "create", "ana@example.com")
    done = verbatim("backup", "all.vbk")
    file = verbatim.folder / "all.vbk"

    assert done.stdout.startswith("all.vbk: ")
    assert "SHA-256" in done.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "--force" in verbatim("backup", "all.vbk", status=1).stderr
    verbatim("backup", "all.vbk", "--force", "--secondary")
    assert sorted(path.name for path in verbatim.folder.glob("all.vbk*")) == ["all.vbk"]
    assert "not empty" in verbatim("restore", "all.vbk", status=1).stderr

    verbatim("user", "create", "ben@example.com")
    verbatim("restore", "all.vbk", "--into", COPY)
    assert emails(copy) == emails(stored) - {"ben@example.com"}
    verbatim("restore", "all.vbk", "--drop")
    assert emails(copy) == emails(stored)
    entry = stored["audit"].find_one({"action": "database.restored"})
    assert entry["actor_kind"] == "command"
    assert "ana@example.com" in verbatim("user", "list").stdout


def test_a_file_is_checked_without_a_database(verbatim: Verbatim) -> None:
    verbatim("user", "list")
    verbatim("backup", "all.vbk")
    whole = (verbatim.folder / "all.vbk").read_bytes()

    told = verbatim("restore", "all.vbk", "--check", mongo_uri="mongodb://127.0.0.1:1")
    assert told.stdout.startswith("all.vbk: whole; ")
    (verbatim.folder / "all.vbk").write_bytes(whole[:-1])
    assert "cut off" in verbatim("restore", "all.vbk", "--check", status=1).stderr
    assert "cut off" in verbatim("restore", "all.vbk", "--into", COPY, status=1).stderr
    (verbatim.folder / "all.vbk").write_bytes(whole[:500] + b"?" + whole[501:])
    assert "altered or damaged" in verbatim("restore", "all.vbk", "--check", status=1).stderr
    assert "cannot be read" in verbatim("restore", "none.vbk", "--check", status=1).stderr
    assert "cannot be written" in verbatim("backup", "none/all.vbk", status=1).stderr


@pytest.mark.slow
def test_it_goes_through_pipes(verbatim: Verbatim, stored: Any, copy: Any) -> None:
    verbatim("user", "create", "ana@example.com")
    source = started(verbatim, "backup", "-", stdout=-1)
    target = started(verbatim, "restore", "-", "--into", COPY, stdin=source.stdout)
    _, complaints = target.communicate(timeout=60)
    _, told = source.communicate(timeout=60)

    assert (source.returncode, target.returncode) == (0, 0), complaints
    assert b"Written: " in told
    assert emails(copy) == emails(stored)


@pytest.mark.slow
def test_a_backup_that_is_killed_leaves_no_file_that_looks_whole(verbatim: Verbatim, stored: Any) -> None:
    stored["rows"].insert_many([{"data": os.urandom(10_000)} for _ in range(200)])
    partial = verbatim.folder / "all.vbk.part"
    os.mkfifo(partial)  # it stops where nobody reads on
    process = started(verbatim, "backup", "all.vbk")
    with partial.open("rb") as pipe:
        written = pipe.read(300_000)
        process.kill()
        process.communicate(timeout=30)
        written += pipe.read()

    assert not (verbatim.folder / "all.vbk").exists()
    with pytest.raises(DamagedBackup, match="cut off"):
        list(BackupReader(io.BytesIO(written)))
    partial.unlink()
    partial.write_bytes(written)
    verbatim("backup", "all.vbk")
    verbatim("restore", "all.vbk", "--check")


@pytest.mark.slow
def test_a_restore_that_is_killed_leaves_no_database_and_can_be_done_again(
    verbatim: Verbatim, stored: Any, copy: Any
) -> None:
    verbatim("user", "create", "ana@example.com")
    stored["zeros"].insert_many([{"data": os.urandom(10_000)} for _ in range(2000)])
    verbatim("backup", "all.vbk")
    file = (verbatim.folder / "all.vbk").read_bytes()
    process = started(verbatim, "restore", "-", "--into", COPY, stdin=-1)
    assert process.stdin is not None
    process.stdin.write(file[: len(file) - 100_000])
    process.stdin.flush()
    until(lambda: any(copy[name].find_one() for name in copy.list_collection_names() if name.endswith(".zeros")))
    process.kill()
    process.communicate(timeout=30)

    refused = verbatim("user", "list", status=1, database=COPY)
    assert "is not whole: a restore runs, or was cut short" in refused.stderr
    assert "finish the restore first" in verbatim("backup", "copy.vbk", status=1, database=COPY).stderr
    verbatim("restore", "all.vbk", "--into", COPY)
    assert emails(copy) == emails(stored)
    assert copy["zeros"].count_documents({}) == 2000


@pytest.mark.slow
def test_a_standalone_server_is_saved_only_when_that_is_wanted(verbatim: Verbatim, copy: Any, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    socket = tmp_path / "m.sock"
    mongod = subprocess.Popen(
        [
            find_mongod(None),
            "--dbpath",
            tmp_path / "db",
            "--bind_ip",
            socket,
            "--nounixsocket",
            "--logpath",
            "/dev/null",
        ],
        stdout=-3,
    )
    uri = f"mongodb://{str(socket).replace('/', '%2F')}/?directConnection=true"
    try:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=30_000) as client:
            client[verbatim.database]["rows"].insert_many([{"_id": n} for n in range(10)])
        assert "say --without-snapshot" in verbatim("backup", "all.vbk", status=1, mongo_uri=uri).stderr
        done = verbatim("backup", "all.vbk", "--without-snapshot", mongo_uri=uri)
    finally:
        mongod.terminate()
        mongod.wait(30)

    assert "10 documents without a snapshot" in done.stdout
    verbatim("restore", "all.vbk", "--into", COPY)
    assert copy["rows"].count_documents({}) == 10
