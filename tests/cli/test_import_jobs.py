"""`verbatim import`: tables, lists, errors, undos."""

import json
from typing import Any

import pytest

from tests.cli.command import Verbatim
from tests.cli.files import write_conversations

CHATS = "Chat;Who;Said\r\n1;human;你好\r\n1;bot;Hello\r\n2;narrator;Meanwhile\r\n"
MAP = ("--map", "conversation=Chat", "--map", "role=Who", "--map", "content=Said")


def import_of(stored: Any, **condition: Any) -> Any:
    return stored.imports.find_one(condition, sort=[("_id", -1)])


def test_a_table_is_looked_at_imported_and_taken_back(verbatim: Verbatim, stored: Any) -> None:
    (verbatim.folder / "chats.csv").write_text(CHATS, newline="")
    dry = verbatim("import", "chats.csv", *MAP, "--dry-run", status=2).stdout.splitlines()
    assert dry == [
        "Columns: conversation_id=Chat, role=Who, content=Said",
        "1 conversation with 2 messages would be added, 0 there already.",
        "  1: untitled, 2 messages",
        *(line for line in dry if line.startswith("    ")),
        "1 row could not be read:",
        "  row 4: The role 'narrator' is none of system, user, assistant, tool",
    ]
    assert [line.split(" ", 6)[-1] for line in dry if line.startswith("    ")] == ["user: 你好", "assistant: Hello"]
    assert stored.conversations.count_documents({}) == 0

    done = verbatim("import", "run", "chats.csv", *MAP, "--source", "crm", status=2)
    row = import_of(stored, action="import")
    assert stored.conversations.find_one()["source_id"] == "crm:1"
    assert f"verbatim import errors {row['_id']}" in done.stderr
    assert f"verbatim import undo {row['_id']}" in done.stderr

    listed = verbatim.table("import", "list")
    assert [each[2:9] for each in listed] == [
        ["import", "completed", "chats.csv", "csv", "1", "0", "1"],
        ["dry_run", "completed", "chats.csv", "csv", "1", "0", "1"],
    ]
    verbatim("import", "errors", str(row["_id"]), "-o", "bad.jsonl")
    bad = json.loads((verbatim.folder / "bad.jsonl").read_text())
    assert bad["row"] == {"Chat": "2", "Who": "narrator", "Said": "Meanwhile"}
    assert "bad.jsonl exists" in verbatim("import", "errors", str(row["_id"]), "-o", "bad.jsonl", status=1).stderr

    assert verbatim("import", "undo", str(row["_id"])).stdout == "1 conversation removed.\n"
    assert stored.conversations.count_documents({}) == stored.messages.count_documents({}) == 0
    assert verbatim.table("import", "list")[1][9] == "1 removed, 0 kept"


def test_an_undo_names_what_it_keeps(verbatim: Verbatim, stored: Any) -> None:
    write_conversations(verbatim.folder / "talks.jsonl", 3)
    verbatim("import", "talks.jsonl")
    id = str(import_of(stored)["_id"])
    changed = stored.conversations.find_one_and_update({"source_id": "jsonl:c-1"}, {"$inc": {"version": 1}})
    done = verbatim("import", "undo", id, status=2)

    assert done.stdout.splitlines() == [
        "2 conversations removed.",
        "1 conversation changed since then and kept; --force removes them too:",
        f"  {changed['_id']} Title 1",
    ]
    assert verbatim("import", "undo", id, "--force").stdout == "1 conversation removed.\n"
    assert stored.conversations.count_documents({}) == 0


def test_two_exports_of_ours_are_one_import(verbatim: Verbatim, stored: Any) -> None:
    write_conversations(verbatim.folder / "talks.jsonl", 3)
    verbatim("import", "talks.jsonl")
    for resource in ("conversations", "messages"):
        verbatim("export", resource, "-o", f"{resource}.xlsx")
    before = stored.conversations.find_one({"title": "Title 2"})
    stored.conversations.delete_many({})
    stored.messages.delete_many({})
    done = verbatim("import", "messages.xlsx", "--with", "conversations.xlsx", "--restore")

    assert "3 conversations with 12 messages added" in done.stdout
    after = stored.conversations.find_one({"title": "Title 2"})
    assert [after[name] for name in ("_id", "created_at", "updated_at")] == [
        before[name] for name in ("_id", "created_at", "updated_at")
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("undo", "66a0c0ffee66a0c0ffee66a0"), "verbatim: There is no such import."),
        (("errors", "nonsense"), "verbatim: There is no import nonsense; see: verbatim import list"),
        (("good.jsonl", "--format", "claude"), "verbatim: good.jsonl is jsonl, not claude"),
        (("good.jsonl", "--map", "text=Text"), "there is no field 'text'"),
        (("good.jsonl", "--with", "good.jsonl"), "Only tables can be read together, and good.jsonl is none"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(verbatim: Verbatim, arguments: tuple[str, ...], sentence: str) -> None:
    write_conversations(verbatim.folder / "good.jsonl", 1)
    done = verbatim("import", *arguments, status=1)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
