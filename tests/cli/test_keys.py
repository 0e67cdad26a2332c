"""`verbatim key`: API keys, from the command line."""

from datetime import UTC, datetime, timedelta

import pytest

from app.cli.keys import commands
from tests.cli.command import Verbatim

pytestmark = pytest.mark.mongod


def test_keys_are_made_listed_without_their_secret_and_revoked(verbatim: Verbatim) -> None:
    made = verbatim("key", "create", "--name", "nightly", "--scope", "export", "--scope", "read", "--days", "30")
    secret = made.stdout.strip()
    rows = verbatim.table("key", "list")

    assert secret.startswith("vb_")
    nightly, first = rows
    assert nightly[2:] == ["nightly", secret[:9], "read, export", nightly[5], "never"]
    expiry = datetime.fromisoformat(nightly[5]).replace(tzinfo=UTC)
    assert timedelta(days=28) < expiry - datetime.now(UTC) < timedelta(days=31)
    assert (first[2], first[4], first[5]) == ("First admin key", "read, write, export, admin", "never")
    assert secret not in str(rows)

    assert verbatim("key", "revoke", nightly[0]).stdout == f"{nightly[0]} is revoked.\n"
    assert [row[2] for row in verbatim.table("key", "list")] == ["First admin key"]
    assert "no such key" in verbatim("key", "revoke", nightly[0], status=1).stderr


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("create", "--name", ""), 1, "verbatim: name: "),
        (("create", "--email", "nobody@example.com"), 1, "verbatim: There is no user nobody@example.com"),
        (("create", "--scope", "root"), 2, "root is none of read, write, export, admin"),
        (("create", "--days", "0"), 2, "--days"),
        (("create", "--days", "999999999"), 2, "--days"),
        (("revoke", "nightly"), 1, "verbatim: nightly: an id has 24 hexadecimal digits"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    verbatim: Verbatim, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    failed = verbatim("key", *arguments, status=status)

    assert sentence in failed.stderr
    assert failed.stdout == ""


def test_every_command_has_help() -> None:
    assert all(command.callback is not None and command.callback.__doc__ for command in commands.registered_commands)
