"""`verbatim migrate`: what it lists, does and refuses."""

from typing import Any

import pytest

from app.migrations.registry import MIGRATIONS
from tests.cli.command import Verbatim, cells
from tests.migrations import shapes

pytestmark = pytest.mark.mongod


def listed(printed: str) -> dict[str, tuple[str, str]]:
    """Phase and state of each migration by its name."""
    return {name: (phase, state) for _, name, phase, state, *_ in cells(printed)}


def test_what_is_to_be_done_is_listed_done_and_listed_again(verbatim: Verbatim, stored: Any) -> None:
    stored["turns"].insert_many([shapes.turn(number) for number in range(20)])
    stored["users"].insert_many([shapes.user(number) for number in range(20)])

    before = listed(verbatim("migrate", "--dry-run", status=3).stdout)
    waits = {"expand": "to be done", "migrate": "to be done", "contract": "with --contract"}
    assert before == {each.name: (each.phase, waits[each.phase]) for each in MIGRATIONS}
    assert "migrations" not in stored.list_collection_names()

    done = verbatim("migrate")
    at_starts = [each for each in MIGRATIONS if each.phase != "contract"]
    assert done.stdout == f"Done: {', '.join(map(str, at_starts))}.\n"
    assert stored["turns"].count_documents({"total_ms": 1500}) == 20
    after = listed(verbatim("migrate", "--dry-run").stdout)
    assert [name for name, (_, state) in after.items() if state == "done"] == [each.name for each in at_starts]
    assert verbatim("migrate").stdout == "Nothing was to be done.\n"
    assert stored["users"].count_documents({"role": "admin"}) == 0, "it makes no admin"


def test_contracting_shuts_older_versions_out(verbatim: Verbatim, stored: Any) -> None:
    verbatim("user", "list")
    stored["turns"].create_index([("conversation_id", 1), ("made", 1)], name="conversation_v1")
    assert "Index turns.conversation_v1: retired." in verbatim("migrate", "--dry-run").stdout

    assert "5 (retired_indexes)" in verbatim("migrate", "--contract").stdout

    assert "conversation_v1" not in stored["turns"].index_information()
    assert stored["migrations"].find_one({"_id": "schema"})["contract"] == max(
        each.number for each in MIGRATIONS if each.phase == "contract"
    )


def test_a_newer_database_is_refused_by_every_command(verbatim: Verbatim, stored: Any) -> None:
    stored["migrations"].insert_one({"_id": "schema", "contract": 1000, "version": "7.5.0"})

    for command in (("migrate",), ("migrate", "--rebuild-indexes"), ("user", "list"), ("doctor",)):
        refused = verbatim(*command, status=1)
        assert "This database was migrated for Verbatim 7.5.0 or newer (level 1000)" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_indexes_that_differ_are_rebuilt(verbatim: Verbatim, stored: Any) -> None:
    verbatim("user", "list")
    stored["users"].drop_index("name_v1")
    stored["turns"].drop_index("queued_v1")
    stored["turns"].create_index([("state", 1)], name="queued_v1")
    assert "Index turns.queued_v1: changed." in verbatim("migrate", "--dry-run", status=3).stdout

    assert verbatim("migrate", "--rebuild-indexes").stdout == "Done: 1 (indexes).\n"

    assert "partialFilterExpression" in stored["turns"].index_information()["queued_v1"]
    assert {name: rest for name, *rest in cells(verbatim("doctor").stdout)}["Indexes"] == ["ok", "all there"]


def test_duplicates_are_named_by_the_command_and_by_the_doctor(verbatim: Verbatim, stored: Any) -> None:
    stored["users"].insert_many([{**shapes.user(1), "name": str(number)} for number in range(2)])

    refused = verbatim("migrate", status=1)
    found = {name: rest for name, *rest in cells(verbatim("doctor", status=1).stdout)}

    assert "email '1@example.com' (2 rows, _id: " in refused.stderr
    assert found["Migrations"][0] == "WRONG"
    assert "values come more than once. This names them and says what to do: verbatim migrate" in found["Migrations"][1]
    assert "1@example.com" not in found["Migrations"][1]
    stored["users"].delete_one({"name": "1"})
    assert "1 (indexes)" in verbatim("migrate").stdout


def test_where_migrations_are_left_to_others_commands_refuse(verbatim: Verbatim) -> None:
    refused = verbatim("user", "list", status=1, migrate="false")

    assert "1 (indexes), 2 (free_turn_events)); run: verbatim migrate" in refused.stderr


def test_options_that_exclude_each_other_are_refused(verbatim: Verbatim) -> None:
    assert "one after the other" in verbatim("migrate", "--contract", "--rebuild-indexes", status=2).stderr


def test_help_says_what_it_does_and_how_it_ends(verbatim: Verbatim) -> None:
    printed = " ".join(verbatim("migrate", "--help").stdout.replace("│", " ").split())

    for words in ("--dry-run", "--contract", "--rebuild-indexes", "Exit status: 0 done", "130 ended by Ctrl-C"):
        assert words in printed
