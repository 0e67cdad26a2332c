"""`verbatim import`: what it says, what it stores, and that it may be killed, repeated and run beside a server."""

import gzip
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.command import SCRIPT, Verbatim
from tests.cli.files import wait_until, write_conversations

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

KEY = "bootstrap-key-of-the-tests"


def assert_each_once(stored: Any, count: int, messages: int = 4) -> None:
    """Every conversation of `write_conversations` is there once, whole and in order."""
    rows = list(stored.conversations.find())
    assert sorted(row["source_id"] for row in rows) == sorted(f"jsonl:c-{number}" for number in range(count))
    assert stored.messages.count_documents({}) == count * messages
    said: dict[Any, list[str]] = {row["_id"]: [] for row in rows}
    for message in stored.messages.find(sort=[("seq", 1)]):
        said[message["conversation_id"]].append(message["content"].partition(" ")[0])
    for row in rows:
        number = row["source_id"].partition("-")[2]
        assert said[row["_id"]] == [f"{number}/{n}" for n in range(messages)]


def test_an_import_says_what_it_did(verbatim: Verbatim, stored: Any) -> None:
    write_conversations(verbatim.folder / "talks.jsonl", 1200)
    first = verbatim("import", "talks.jsonl")
    again = verbatim("import", "talks.jsonl")

    assert first.stdout == "1,200 conversations with 4,800 messages added, 0 there already.\n"
    assert "talks.jsonl" in first.stderr
    assert "100%" in first.stderr
    assert again.stdout == "0 conversations with 0 messages added, 1,200 there already.\n"
    assert_each_once(stored, 1200)


def test_bad_lines_are_told_with_their_numbers_and_a_status(verbatim: Verbatim, stored: Any) -> None:
    lines = write_conversations(verbatim.folder / "x", 3, messages=1).read_text().splitlines()
    mixed = [lines[0], "{oops", lines[1], '{"id": "", "messages": []}', lines[2]]
    (verbatim.folder / "mixed.jsonl.gz").write_bytes(gzip.compress("\n".join(mixed).encode()))
    done = verbatim("import", "mixed.jsonl.gz", status=2)
    account = done.stdout.splitlines()

    assert account[:2] == ["3 conversations with 3 messages added, 0 there already.", "2 lines could not be read:"]
    assert account[2].startswith("  line 2: The line is not valid JSON: ")
    assert account[3] == "  line 4: The id is missing or empty"
    assert_each_once(stored, 3, messages=1)


def test_very_many_bad_lines_are_summed_up(verbatim: Verbatim) -> None:
    (verbatim.folder / "bad.jsonl").write_text('{"id": "one", "messages": []}\n' + "{\n" * 30)
    account = verbatim("import", "bad.jsonl", status=2).stdout.splitlines()

    assert account[0] == "1 conversation with 0 messages added, 0 there already."
    assert account[1] == "30 lines could not be read:"
    assert len(account) == 23
    assert account[-1] == "  ... and 10 more"


def test_an_item_of_chatgpt_that_is_bad_is_called_a_conversation(verbatim: Verbatim) -> None:
    (verbatim.folder / "conversations.json").write_text('[{"mapping": {}, "id": "a", "title": "ok"}, {"mapping": 3}]')
    account = verbatim("import", "conversations.json", status=2).stdout.splitlines()

    assert account[1] == "1 conversation could not be read:"
    assert account[2].startswith("  conversation 2: ")


def test_a_file_whose_name_looks_like_markup_is_imported(verbatim: Verbatim) -> None:
    name = "[bold]a[/red].jsonl"
    (verbatim.folder / "plain").mkdir()
    path = verbatim.folder / "plain" / "x"
    write_conversations(path, 1)
    path.rename(verbatim.folder / name.replace("/", "_"))

    assert "1 conversation with" in verbatim("import", name.replace("/", "_")).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("absent.jsonl",), "verbatim: absent.jsonl does not exist"),
        ((".",), "is a folder or a device, not a file"),
        (("picture.png",), "verbatim: picture.png is neither JSON Lines"),
        (("good.jsonl", "--owner", "nobody@example.com"), "verbatim: There is no user nobody@example.com"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(
    verbatim: Verbatim, stored: Any, arguments: tuple[str, ...], sentence: str
) -> None:
    write_conversations(verbatim.folder / "good.jsonl", 1)
    (verbatim.folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = verbatim("import", *arguments, status=1)

    assert done.stdout == ""
    assert sentence in done.stderr
    assert stored.conversations.count_documents({}) == 0


def test_another_owner_gets_a_copy(verbatim: Verbatim, stored: Any) -> None:
    write_conversations(verbatim.folder / "talks.jsonl", 2)
    verbatim("user", "create", "ana@example.com")
    verbatim("import", "talks.jsonl")
    done = verbatim("import", "talks.jsonl", "--owner", "ANA@example.com")
    ana = stored.users.find_one({"email": "ana@example.com"})

    assert done.stdout.startswith("2 conversations with 8 messages added")
    assert stored.messages.count_documents({"owner_id": ana["_id"]}) == 8
    assert stored.messages.count_documents({}) == 16


def started(verbatim: Verbatim, *arguments: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
    environment |= {"VERBATIM_MONGO_URI": verbatim.uri, "VERBATIM_DATABASE": verbatim.database}
    return subprocess.Popen(
        [SCRIPT, *arguments],
        env=environment,
        cwd=verbatim.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, Ctrl-C is switched off for what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 no threads here
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_import_that_is_ended_in_the_middle_is_completed_by_the_next(
    verbatim: Verbatim, stored: Any, number: signal.Signals
) -> None:
    count = 20_000  # so many that it is not over before the signal comes
    write_conversations(verbatim.folder / "talks.jsonl", count)
    verbatim("user", "list")  # so that the indexes are there
    process = started(verbatim, "import", "talks.jsonl")
    wait_until(lambda: stored.conversations.find_one() is not None)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=30)
    before = stored.conversations.count_documents({})

    assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    assert "Traceback" not in complaint
    assert 0 < before < count
    assert stored.messages.count_documents({}) == 4 * before

    done = verbatim("import", "talks.jsonl")  # which may have to wait until the database forgets a transaction
    rest = count - before
    assert done.stdout == (f"{rest:,} conversations with {4 * rest:,} messages added, {before:,} there already.\n")
    assert_each_once(stored, count)


def test_two_imports_at_once_add_everything_once(verbatim: Verbatim, stored: Any) -> None:
    count = 1500
    write_conversations(verbatim.folder / "talks.jsonl", count)
    verbatim("user", "list")
    processes = [started(verbatim, "import", "talks.jsonl") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    numbers = [[int(each.replace(",", "")) for each in re.findall(r"[\d,]*\d", output)] for output in outputs]

    assert [process.returncode for process in processes] == [0, 0]
    assert sum(added for added, _, _ in numbers) == count
    assert [added + present for added, _, present in numbers] == [count, count]
    assert_each_once(stored, count)


@contextmanager
def server(data: Path) -> Iterator[str]:
    """`verbatim serve` on a data folder of its own; answers its URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
    process = subprocess.Popen(
        [SCRIPT, "serve", "--port", "0", "--data", str(data)],
        env={**environment, "VERBATIM_BOOTSTRAP_KEY": KEY, "VERBATIM_LOG_LEVEL": "error"},
        cwd=data,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"Verbatim\s+(http\S+)", line):
                yield found[1]
                break
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_an_import_works_beside_a_server_on_the_same_folder(tmp_path: Path) -> None:
    count = 50
    file = write_conversations(tmp_path / "talks.jsonl", count)
    data = tmp_path / "data"
    data.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
    with server(data) as url, httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        done = subprocess.run(
            [SCRIPT, "import", str(file), "--data", str(data)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found = client.get("/api/conversations", params={"count": "exact"}).json()
        talk = client.get("/api/conversations", params={"title": "Title 7"}).json()["items"][0]
        said = client.get(f"/api/conversations/{talk['id']}/messages").json()["items"]

    assert done.stdout == "50 conversations with 200 messages added, 0 there already.\n"
    assert found["total"] == count
    assert [(each["seq"], each["content"].partition(" ")[0]) for each in said] == [(n + 1, f"7/{n}") for n in range(4)]
    assert said[0]["content"] == "7/0 知道恋恋笔记本这部电影吗？"
