"""Telling what a file is from its beginning, never from its name."""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from app.imports import csv_rows, json_rows
from app.imports.errors_file import MEMBERS, as_it_came
from app.imports.streams import UnreadableSource

Format = Literal["jsonl", "rows", "csv", "xlsx", "chatgpt", "claude", "librechat", "openwebui", "langchain"]
FORMATS: tuple[Format, ...] = get_args(Format)
HEAD = 64 * 1024  # bytes that decide the format

_BY_MEMBERS: tuple[tuple[Format, tuple[str, ...]], ...] = (
    ("chatgpt", ("mapping",)),
    ("claude", ("chat_messages",)),
    ("openwebui", ("chat",)),
    ("langchain", ("SessionId", "History")),
    ("librechat", ("conversationId", "messagesTree")),
    ("librechat", ("conversationId", "messages")),
    ("jsonl", ("messages",)),
)
"""What the first object has, the first that fits: strange members are those of one format only."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)
_EMPTY_ARRAY = re.compile(r"\[\s*\]\s*")
_OBJECT_LINE = re.compile(r'^[ \t]*\{[ \t]*["}]', re.MULTILINE)
_KNOWN = (
    "JSON Lines (an object per line, in UTF-8), a table (CSV or XLSX) nor an export of ChatGPT, Claude, LibreChat, "
    "Open WebUI or LangChain"
)


@dataclass(frozen=True)
class Recognized:
    """A format, and for CSV how the file is written."""

    format: Format
    dialect: csv_rows.Dialect | None = None


def recognize(name: str, head: bytes, columns: Mapping[str, str]) -> Recognized:
    """The format of a file that begins like this; raises UnreadableSource. `columns`: what is said about a table."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        raise UnreadableSource(f"{name} is empty")
    text = start.decode(errors="replace")
    if text.startswith("[") and (found := _of_array(name, text)):
        return Recognized(found)
    if text.startswith("{") and (found := _by_members(_record_members(text))) not in (None, "jsonl"):
        return Recognized(found)
    if _OBJECT_LINE.search(text):
        return Recognized(_of_objects(text, columns))
    if dialect := csv_rows.sniff(head):
        return Recognized("csv", dialect)
    raise UnreadableSource(f"{name} is neither {_KNOWN}")


def _of_array(name: str, text: str) -> Format | None:
    if _EMPTY_ARRAY.fullmatch(text):
        return "chatgpt"
    found = _by_members(members(text[1:]))
    if found is None or found == "jsonl":
        raise UnreadableSource(
            f"{name} is a JSON array, but not of an export that is known: ChatGPT's items have a mapping, Claude's "
            "chat_messages, Open WebUI's a chat, LangChain's a SessionId"
        )
    return found


def _of_objects(text: str, columns: Mapping[str, str]) -> Format:
    line = _first_object(text)
    found = _by_members(set(line) if line is not None else _record_members(text[text.index("{") :]))
    if found is not None:
        return found
    if columns or (line is not None and _is_of_rows(line)):
        return "rows"
    return "jsonl"


def _is_of_rows(line: Mapping[str, Any]) -> bool:
    """Whether a line is a message or a conversation without its messages."""
    headings = json_rows.headings_of(line)
    return "content" in headings or ({"id", "message_count"} <= set(headings) and json_rows.is_own(headings))


def _by_members(found: set[str]) -> Format | None:
    return next((format for format, wanted in _BY_MEMBERS if found.issuperset(wanted)), None)


def _first_object(text: str) -> dict[str, Any] | None:
    """The first line that is one."""
    for line in text.splitlines():
        try:
            value = as_it_came(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _record_members(text: str) -> set[str]:
    """The names in the first object, or in the record of the first line of a file of errors."""
    found = members(text)
    return members(text[text.index('"row"') + len('"row"') :]) if found == MEMBERS else found


def members(text: str) -> set[str]:
    """The names in the first object of a text, which may end within it."""
    found: set[str] = set()
    depth, last = 0, ""
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
            if depth == 0:
                break
        elif mark == ":" and depth == 1:
            found.add(last)
        last = mark[1:-1]
    return found
