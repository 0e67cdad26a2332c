"""The rows of one conversation as a conversation: whole, or refused whole with a reason for each of its rows."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.conversations.resource import MESSAGES
from app.imports.cells import value_of
from app.imports.fields import RefusedError, integer
from app.imports.mapping import FIELDS, ColumnMap
from app.imports.records import (
    ROLES,
    BadRecord,
    ImportedConversation,
    ImportedMessage,
    Record,
    build_conversation,
    build_full_message,
)

_ROLES: Mapping[str, str] = {
    **{role: role for role in ROLES},
    **dict.fromkeys(("human", "customer", "me"), "user"),
    **dict.fromkeys(("ai", "bot", "model", "gpt", "agent"), "assistant"),
    **dict.fromkeys(("developer",), "system"),
    **dict.fromkeys(("function",), "tool"),
}
"""What speakers are called, in small letters."""

_OWN_MESSAGE_FIELDS = tuple(column.name for column in MESSAGES.exported if column.name in FIELDS)
_CONVERSATION_FIELDS = tuple(name for name in FIELDS if name.startswith("conversation."))


@dataclass(frozen=True)
class TableRow:
    """A row of a table with its place there: `position` counts from 1, the row of the headings included."""

    columns: ColumnMap
    position: int
    cells: Mapping[str, Any]
    place: str = ""
    """What stands before its position where a file has several tables."""

    def bad(self, reason: str) -> BadRecord:
        return BadRecord(self.position, f"{self.place}{reason}", dict(self.cells))


@dataclass(frozen=True)
class _Message:
    row: TableRow
    message: ImportedMessage
    number: int | None


def build_group(key: str, rows: Sequence[TableRow]) -> Iterator[Record]:
    """The conversation of these rows, or what is wrong with each of them."""
    messages: list[_Message] = []
    bad: list[BadRecord] = []
    for row in rows:
        if not row.columns.has_messages:
            continue
        try:
            messages.append(_message(row))
        except RefusedError as error:
            bad.append(row.bad(str(error)))
    try:
        if not bad:
            yield _conversation(key, rows, _ordered(messages))
            return
    except RefusedError as error:
        bad = [rows[0].bad(str(error))]
    yield from bad
    at_fault = {each.position for each in bad}
    for row in rows:
        if row.position not in at_fault:
            yield row.bad(f"Row {bad[0].position} of the same conversation cannot be imported, so it waits with it")


def _message(row: TableRow) -> _Message:
    values = {
        name: value_of(FIELDS[name].kind, row.columns.value(name, row.cells), f"The {FIELDS[name].label.lower()}")
        for name in _OWN_MESSAGE_FIELDS
        if name in row.columns.headings
    }
    role = values.get("role")
    if isinstance(role, str):
        values["role"] = _ROLES.get(re.sub(r"\s", "", role).casefold(), role)
    values["content"] = values.get("content") or ""
    number = integer(values.pop("seq", None), "The number")
    if not row.columns.is_ours:
        values.pop("id", None)
    return _Message(row, build_full_message(_nested(values)), number)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as objects; one without any value is absent."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        parent, _, member = name.partition(".")
        if not member:
            found[name] = value
        elif value is not None:
            found.setdefault(parent, {})[member] = value
    return found


def _ordered(messages: list[_Message]) -> list[_Message]:
    """By number where all have one, else by time where all have one, else as they came."""
    if messages and all(each.number is not None for each in messages):
        numbers = [each.number for each in messages]
        if messages[0].row.columns.is_ours and len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise RefusedError(f"Message {twice} of the conversation comes twice")
        return sorted(messages, key=lambda each: each.number or 0)
    if all(each.message.created_at is not None for each in messages):
        return sorted(messages, key=_time)
    return messages


def _time(message: _Message) -> float:
    created: datetime | None = message.message.created_at
    return created.timestamp() if created else 0.0


def _conversation(key: str, rows: Sequence[TableRow], messages: Sequence[_Message]) -> ImportedConversation:
    known = _known(rows)
    said = [each.message for each in messages]
    first = next((message.created_at for message in said if message.created_at), None)
    built = build_conversation(
        rows[0].position,
        source_id=key,
        title=known.get("title"),
        tags=known.get("tags"),
        messages=said,
        created_at=known.get("created_at"),
        more=known,
    )
    is_ours = rows[0].columns.is_ours and ObjectId.is_valid(key)
    return replace(built, created_at=built.created_at or first, is_ours=is_ours)


def _known(rows: Sequence[TableRow]) -> dict[str, Any]:
    """What the rows say of their conversation: of each field the first value, by its name without the prefix."""
    found: dict[str, Any] = {}
    ordered = sorted(rows, key=lambda row: row.columns.has_messages)  # the conversation's own row first
    for name in _CONVERSATION_FIELDS:
        kind, label = FIELDS[name].kind, f"The conversation's {FIELDS[name].label.lower()}"
        for row in ordered:
            if name in row.columns.headings:
                value = value_of(kind, row.columns.value(name, row.cells), label)
                if value is not None:
                    found[name.partition(".")[2]] = value
                    break
    return found
