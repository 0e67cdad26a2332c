"""Which column of a table holds what: as the client says, as our own exports call it, or by an obvious heading.

A row is a message of the conversation that one of its columns names. Tables of our own conversations have rows that are
no messages; they tell what is not in their messages.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.imports.streams import UnreadableSource
from app.kit.errors import Invalid
from app.kit.resource import Column, Kind

CONVERSATION_ID, ROLE, CONTENT = "conversation_id", "role", "content"
REQUIRED = (CONVERSATION_ID, ROLE, CONTENT)
_PREFIX = "conversation."
_NOT_READ = frozenset({"owner_id", "turn_id", "message_count", "parent.conversation_id", "parent.seq", "version"})
"""Columns of our own exports that belong to the place where they were made."""

_OBVIOUS: Mapping[str, Sequence[str]] = {
    CONVERSATION_ID: ("conversation", "chat", "chatid", "session", "sessionid", "thread", "threadid", "dialogueid"),
    ROLE: ("speaker", "sender", "author", "from"),
    CONTENT: ("text", "message", "body", "utterance"),
    "seq": ("number", "index", "order", "position", "messageindex", "turnindex"),
    "created_at": ("created", "timestamp", "time", "date", "datetime", "sentat"),
    "model": (),
    f"{_PREFIX}title": ("title", "conversationtitle", "subject"),
    f"{_PREFIX}tags": ("tags",),
}
"""Headings of other people's tables, in small letters without spaces and signs; the field's own name is one too."""

_ALIASES = {"conversation": CONVERSATION_ID, "title": f"{_PREFIX}title", "tags": f"{_PREFIX}tags"}
"""Shorter names by which a client may call a field."""


def _own_fields() -> dict[str, Column]:
    messages = {column.name: column for column in MESSAGES.exported if column.name not in _NOT_READ}
    others = {f"{_PREFIX}{column.name}": column for column in CONVERSATIONS.exported if column.name not in _NOT_READ}
    del others[f"{_PREFIX}id"]
    return messages | others


FIELDS: Mapping[str, Column] = _own_fields()
"""What a column can be mapped to, and which kind of value that is: of a message, or `conversation.`..."""


@dataclass(frozen=True)
class ColumnMap:
    """The heading of each field that is read.

    `is_ours`: the table is an export of ours. `has_messages`: its rows are messages.
    """

    headings: Mapping[str, str]
    is_ours: bool
    has_messages: bool = True

    def kind_of(self, field: str) -> Kind:
        return FIELDS[field].kind

    def value(self, field: str, row: Mapping[str, Any]) -> Any:
        """What a row has for a field; of a nested row dotted headings are paths."""
        heading = self.headings.get(field)
        if heading is None:
            return None
        if heading in row:
            return row[heading]
        value: Any = row
        for segment in heading.split("."):
            value = value.get(segment) if isinstance(value, Mapping) else None
        return value


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """`content=Text` and the like as headings by field; raises Invalid."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, heading = pair.partition("=")
        field = _ALIASES.get(name.strip(), name.strip())
        if not separator or not heading:
            raise Invalid.field("query.map", f"{pair!r} is not field=heading, such as content=Text")
        if field not in FIELDS:
            raise Invalid.field("query.map", f"there is no field {name!r}; there are {', '.join(FIELDS)}")
        if field in found:
            raise Invalid.field("query.map", f"{name!r} is mapped twice")
        found[field] = heading
    return found


def map_columns(name: str, headings: Sequence[str], wanted: Mapping[str, str]) -> ColumnMap:
    """The map of a table of these headings; raises UnreadableSource when a column is missing. `name`: of the table."""
    for field, heading in wanted.items():
        if heading not in headings:
            raise UnreadableSource(f"{name} has no column {heading!r} for {field}; its columns are {_listed(headings)}")
    if not wanted and (ours := _own_map(headings)):
        return ours
    taken = set(wanted.values())
    found = dict(wanted)
    for field, others in _OBVIOUS.items():
        names = (_plain(field.removeprefix(_PREFIX)), *others)
        by_name = {_plain(heading): heading for heading in reversed(headings) if heading not in taken}
        obvious = next((by_name[each] for each in names if each in by_name), None)
        if field not in found and obvious is not None:
            found[field] = obvious
            taken.add(obvious)
    missing = [field for field in REQUIRED if field not in found]
    if missing:
        raise UnreadableSource(
            f"{name} has no column for {' and '.join(missing)}: say which one it is, such as {missing[0]}=Heading; "
            f"its columns are {_listed(headings)}"
        )
    return ColumnMap(found, is_ours=False)


def _own_map(headings: Sequence[str]) -> ColumnMap | None:
    """The map of an export of ours, known by all of its headings: names as in JSON Lines, or labels.

    One of conversations must count their messages: other people's tables may well consist of an id and a title.
    """
    for columns, prefix in ((MESSAGES.exported, ""), (CONVERSATIONS.exported, _PREFIX)):
        for attribute in ("name", "label"):
            own = {_heading(attribute, column): f"{prefix}{column.name}" for column in columns}
            joined = {_joined(attribute, column): f"{_PREFIX}{column.name}" for column in CONVERSATIONS.exported}
            known = {**joined, **own} if not prefix else own
            if not all(heading in known or _is_of_owner(heading) for heading in headings):
                continue
            fields = {known[heading]: heading for heading in headings if heading in known}
            if prefix and {f"{prefix}id", f"{prefix}message_count"} <= fields.keys():
                rest = {field: heading for field, heading in fields.items() if field in FIELDS}
                return ColumnMap({CONVERSATION_ID: fields[f"{prefix}id"], **rest}, is_ours=True, has_messages=False)
            if not prefix and all(field in fields for field in REQUIRED):
                return ColumnMap({k: v for k, v in fields.items() if k in FIELDS}, is_ours=True)
    return None


def _heading(attribute: str, column: Column) -> str:
    return str(getattr(column, attribute))


def _joined(attribute: str, column: Column) -> str:
    return f"conversation.{column.name}" if attribute == "name" else f"Conversation: {column.label}"


def _is_of_owner(heading: str) -> bool:
    return heading.startswith(("owner.", "Owner: "))


def _plain(heading: str) -> str:
    return re.sub(r"[\W_]+", "", heading.casefold())


def _listed(headings: Sequence[str]) -> str:
    shown = ", ".join(headings[:30])
    return f"{shown} and {len(headings) - 30} more" if len(headings) > 30 else shown or "none"
