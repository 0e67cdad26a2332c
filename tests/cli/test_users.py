"""`verbatim user`: people, from the command line."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.command import Verbatim

pytestmark = pytest.mark.mongod


def test_users_are_made_listed_changed_and_removed(verbatim: Verbatim) -> None:
    made = verbatim("user", "create", "Ana@Example.com", "--name", "Ana [b]茶[/] :smile:", "--role", "analyst")
    id = made.stdout.strip()
    rows = verbatim.table("user", "list")

    assert "First admin key" in made.stderr  # the very first command makes the first admin
    assert [row[1] for row in rows] == ["admin@localhost", "ana@example.com"]
    assert rows[1][:5] == [id, "ana@example.com", "Ana [b]茶[/] :smile:", "analyst", "False"]

    changed = verbatim("user", "role", "ANA@example.com", "user")
    assert changed.stdout == "ANA@example.com is user now.\n"
    declined = verbatim("user", "delete", "ana@example.com", answers="n\n", status=1)
    assert "Aborted" in declined.stderr
    assert [row[3] for row in verbatim.table("user", "list")] == ["admin", "user"]

    verbatim("user", "delete", "ana@example.com", answers="y\n")
    assert [row[1] for row in verbatim.table("user", "list")] == ["admin@localhost"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "nonsense"), "verbatim: email: "),
        (("create", "admin@LOCALHOST"), "verbatim: email: this value is taken already."),
        (("create", "ana@example.com", "--name", "x" * 201), "verbatim: name: "),
        (("role", "nobody@example.com", "admin"), "verbatim: There is no user nobody@example.com"),
        (("role", "admin@localhost", "user"), "verbatim: This is the last admin who can get in"),
        (("delete", "admin@localhost", "--yes"), "verbatim: This is the last admin who can get in"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(verbatim: Verbatim, arguments: tuple[str, ...], sentence: str) -> None:
    failed = verbatim("user", *arguments, status=1)

    complaint = failed.stderr.splitlines()[-1]
    assert complaint.startswith(sentence)
    assert failed.stdout == ""


def test_a_password_is_asked_for_twice_and_not_shown(verbatim: Verbatim) -> None:
    short = verbatim("user", "create", "ana@example.com", "--password", answers="short\nshort\n", status=1)
    made = verbatim("user", "create", "ana@example.com", "--password", answers="correct horse\ncorrect horse\n")

    assert "verbatim: password: " in short.stderr
    assert "correct horse" not in made.stdout + made.stderr


def test_a_password_is_changed_and_sessions_are_ended(verbatim: Verbatim) -> None:
    verbatim("user", "create", "ana@example.com")

    short = verbatim("user", "password", "ana@example.com", answers="short\nshort\n", status=1)
    changed = verbatim("user", "password", "ana@example.com", answers="correct horse\ncorrect horse\n")

    assert "verbatim: password: " in short.stderr
    assert changed.stdout.endswith("ana@example.com has a new password.\n")
    assert "correct horse" not in changed.stdout + changed.stderr
    assert verbatim("user", "logout", "ana@example.com").stdout == "ana@example.com is logged out everywhere.\n"
    assert "There is no user" in verbatim("user", "logout", "nobody@example.com", status=1).stderr


def test_keys_of_tokens_rotate(verbatim: Verbatim) -> None:
    first, second = (verbatim("token", "rotate", *options).stdout for options in ((), ("--withdraw",)))
    assert first.endswith(" signs now.\n")
    assert first != second


def test_an_unknown_role_is_a_wrong_use(verbatim: Verbatim) -> None:
    assert "root" in verbatim("user", "create", "ana@example.com", "--role", "root", status=2).stderr


def test_a_user_is_handed_their_data_and_erased_with_a_receipt(verbatim: Verbatim, tmp_path: Path) -> None:
    id = verbatim("user", "create", "ana@example.com").stdout.strip()
    file = tmp_path / "ana.zip"

    verbatim("user", "data", "ana@example.com", "-o", str(file))
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("users.jsonl"))["email"] == "ana@example.com"
        assert json.loads(archive.read("manifest.json"))["user_id"] == id
    again = verbatim("user", "data", "ana@example.com", "-o", str(file), status=1)
    assert "say --force" in again.stderr
    receipt = json.loads(verbatim("user", "erase", "ana@example.com", "--yes").stdout)

    assert receipt["subject"] == sha256(id.encode()).hexdigest()
    assert (receipt["state"], receipt["requested_kind"], receipt["counts"]["users"]) == ("completed", "command", 1)
    assert [row[1] for row in verbatim.table("user", "list")] == ["admin@localhost"]
