"""What people are told when there can be no embedded MongoDB: one sentence, and soon."""

import asyncio
import importlib.util
import signal
from pathlib import Path

import pytest

from app.mongod import EmbeddedMongod, MongodUnavailable, find_mongod
from app.mongod.failures import explain, last_words

LOCKED = (
    '{"t":{"$date":"2026-11-22T07:44:00.000Z"},"s":"E",  "c":"CONTROL",  "id":20557, "ctx":"initandlisten",'
    '"msg":"DBException in initAndListen, terminating","attr":{"error":"DBPathInUse: Unable to lock the lock file"}}'
)
FULL = '"msg":"WiredTiger error message","attr":{"error":28,"message":{"error_str":"No space left on device"}}'


def program(folder: Path, text: str) -> Path:
    """An executable file in place of mongod."""
    path = folder / "mongod"
    path.write_text(text)
    path.chmod(0o755)
    return path


async def refusal(data: Path, mongod: Path, timeout: float = 60) -> str:
    embedded = EmbeddedMongod(data, mongod, start_timeout=timeout)
    with pytest.raises(MongodUnavailable) as caught:
        await embedded.start()
    return str(caught.value)


async def test_a_missing_library_is_named_with_its_package(data: Path, tmp_path: Path) -> None:
    complaint = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    mongod = program(tmp_path, f"#!/bin/sh\necho '{complaint}' >&2\nexit 127\n")
    assert await refusal(data, mongod) == "mongod needs libcurl.so.4: on Debian or Ubuntu, apt-get install libcurl4."
    assert "apt-get install libcurl4" in await refusal(data, mongod)


async def test_a_program_of_another_machine_is_refused(data: Path, tmp_path: Path) -> None:
    said = await refusal(data, program(tmp_path, "not a program of this machine"))
    assert said.startswith(f"{tmp_path / 'mongod'} cannot be run on this machine (Exec format error): install one")


@pytest.mark.slow
async def test_a_mongod_that_always_dies_is_given_up(data: Path, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    mongod = program(tmp_path, f"#!/bin/sh\necho started >> {starts}\nkill -9 $$\n")
    said = await refusal(data, mongod)
    assert said.startswith(f"mongod ended with exit status {-signal.SIGKILL}")
    assert len(await asyncio.to_thread(starts.read_text)) == len("started\n") * 6


@pytest.mark.slow
async def test_a_mongod_that_never_serves_is_ended(data: Path, tmp_path: Path) -> None:
    mongod = program(tmp_path, "#!/bin/sh\nexec sleep 60\n")
    said = await refusal(data, mongod, timeout=1.5)
    assert said.startswith("The embedded MongoDB did not become ready within 1.5 s; see ")


async def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    obstacle = tmp_path / "file"
    obstacle.touch()
    said = await refusal(obstacle / "data", tmp_path / "mongod")
    assert said.startswith(f"The data folder {obstacle / 'data'} cannot be used (Not a directory: ")


@pytest.mark.mongod
@pytest.mark.slow
async def test_a_data_folder_of_another_mongod_is_left_alone(data: Path, binary: Path) -> None:
    (data / "db").mkdir(parents=True)
    foreign = await asyncio.create_subprocess_exec(
        *(binary, "--dbpath", data / "db", "--bind_ip", data / "foreign.sock", "--nounixsocket"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert foreign.stdout is not None
    while b"Waiting for connections" not in await foreign.stdout.readline():
        pass
    said = await refusal(data, binary)
    assert said == f"The data folder {data} is in use by another mongod: stop it, or set VERBATIM_DATA."
    assert foreign.returncode is None
    foreign.terminate()
    await foreign.communicate()


async def test_no_mongod_at_all_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MongodUnavailable, match=r"pip install 'verbatim\[embedded\]'.*VERBATIM_MONGO_URI"):
        find_mongod(None)
    on_path = program(tmp_path, "#!/bin/sh\n")
    assert find_mongod(None) == on_path


async def test_the_configured_mongod_is_the_one_or_none(tmp_path: Path) -> None:
    with pytest.raises(MongodUnavailable, match="which is not an executable file"):
        find_mongod(tmp_path / "absent")
    assert find_mongod(program(tmp_path, "#!/bin/sh\n")) == tmp_path / "mongod"


@pytest.mark.parametrize(
    ("exit_status", "said", "sentence"),
    [
        (100, LOCKED, "The data folder /d is in use by another mongod: stop it, or set VERBATIM_DATA."),
        (-6, FULL, "The disk of the data folder /d is full: free some space, then start again."),
        (62, "", "Another version of MongoDB wrote the data in /d: set VERBATIM_MONGOD to one that can read it."),
        (14, "UPGRADE PROBLEM: Found an invalid featureCompatibilityVersion document", "Another version of MongoDB"),
        (100, "Attempted to create a lock file on a read-only directory: /d/db", "The data folder /d is not writable"),
        (1, "mongod: libc.so.6: version `GLIBC_2.34' not found", "This system is too old for /m, which needs GLIBC"),
        (127, "error while loading shared libraries: libssl.so.3: cannot open", "/m needs OpenSSL 3 (libssl.so.3)"),
        (
            127,
            "error while loading shared libraries: libx.so: cannot",
            "mongod needs the shared library libx.so, which",
        ),
        (-4, "", "This processor lacks instructions (AVX) that /m needs"),
        (2, "first\nsecond\n", "mongod ended with exit status 2; the end of its log in /d: first | second"),
    ],
)
def test_what_mongod_says_is_explained(exit_status: int, said: str, sentence: str) -> None:
    assert explain(exit_status, said, data=Path("/d"), mongod=Path("/m")).startswith(sentence)


def test_the_last_words_of_a_log_are_its_errors() -> None:
    assert last_words(f"plain\n{LOCKED}\n\nplain\n") == (
        "DBException in initAndListen, terminating: DBPathInUse: Unable to lock the lock file"
    )
    assert last_words("") == "(empty)"
