"""LangChain's chat history in MongoDB, as mongoexport writes it: a document a message, the message as JSON text in it.

`{"_id": {"$oid": "..."}, "SessionId": "...", "History": "{\\"type\\": \\"human\\", \\"data\\": {...}}"}`, an array
of them or one after the other. The messages of a session keep their order; their times are those of their ids.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson import ObjectId

from app.imports.answers import dump
from app.imports.errors_file import as_it_came
from app.imports.fields import RefusedError
from app.imports.items import Object, as_list, as_object, text_of
from app.imports.json_array import BrokenArrayError, ItemReader
from app.imports.records import BadRecord, ImportedMessage, Record, build_conversation, build_full_message
from app.imports.spool import Row
from app.imports.streams import DamagedError, Entry

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool"}


def read_documents(entry: Entry, first: int = 1) -> Iterator[tuple[str, Row] | BadRecord]:
    """Each document with its session; broken JSON ends the file with a `BadRecord`."""
    position = first
    try:
        for read in ItemReader(entry):
            item = as_it_came(read, str)
            session = _number(item.get("SessionId")) if isinstance(item, dict) else None
            if session is None or session == "" or not isinstance(session, str | int):
                yield BadRecord(position, "The document has no SessionId", item)
            else:
                yield str(session), (position, item)
            position += 1
    except (BrokenArrayError, DamagedError) as error:
        yield BadRecord(position, f"Nothing could be read from here on: {error}")


class Sessions:
    """Documents as conversations, one a session."""

    def build(self, key: str, rows: Sequence[Row]) -> Iterator[Record]:
        """The conversation of a session, or what is wrong with each of its documents."""
        return _session(key, rows)

    def raw(self, cells: Mapping[str, Any]) -> object:
        return cells


def _session(session: str, rows: Sequence[Row]) -> Iterator[Record]:
    messages: list[ImportedMessage] = []
    bad: dict[int, str] = {}
    for position, document in rows:
        try:
            messages.append(_message(document))
        except RefusedError as error:
            bad[position] = str(error)
    first = rows[0][0]
    try:
        if not bad:
            created_at = next((message.created_at for message in messages if message.created_at), None)
            yield build_conversation(
                first,
                source_id=session,
                title=None,
                tags=None,
                messages=messages,
                created_at=created_at and created_at.isoformat(),
            )
            return
    except RefusedError as error:
        bad[first] = str(error)
    waits = f"Document {next(iter(bad))} of the same session cannot be imported, so it waits with it"
    for position, document in rows:
        yield BadRecord(position, bad.get(position, waits), document)


def _message(document: Object) -> ImportedMessage:
    history = _decoded(document.get("History"))
    data = as_object(history.get("data"), "The data of the message")
    kind = text_of(history, "type") or text_of(data, "type")
    told = as_object(data.get("response_metadata") or {}, "The response metadata")
    role = text_of(data, "role") if kind == "chat" else _ROLES.get(kind, kind)
    is_answer = role == "assistant"
    return build_full_message(
        {
            "role": role,
            "content": _words(data.get("content")),
            "created_at": _created_at(document.get("_id")),
            "model": text_of(told, "model_name", "model") or None if is_answer else None,
            "finish_reason": text_of(told, "finish_reason", "stop_reason") or None if is_answer else None,
            "usage": _usage(data.get("usage_metadata")),
            "tool_calls": [_call(each) for each in as_list(data.get("tool_calls"), "The tool calls")] or None,
            "tool_call_id": data.get("tool_call_id") if role == "tool" else None,
        }
    )


def _decoded(value: object) -> Object:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"The History is not valid JSON: {error}") from error
    return as_object(value, "The History")


def _words(content: object) -> object:
    """The text of a content, which may be a list of texts and typed parts."""
    if not isinstance(content, list):
        return content
    parts = [each if isinstance(each, str) else _part(each) for each in content]
    return "\n".join(part for part in parts if part)


def _part(value: object) -> str:
    part = as_object(value, "A part of the content")
    # Calls of tools are listed beside the content as well.
    return "" if part.get("type") == "tool_use" else text_of(part, "text") or dump(part)


def _call(value: object) -> Object:
    call = as_object(value, "A tool call")
    arguments = call.get("args")
    function = {"name": call.get("name"), "arguments": arguments if isinstance(arguments, str) else dump(arguments)}
    return {"id": call.get("id") or "call", "function": function}


def _usage(value: object) -> Object | None:
    if not isinstance(value, dict):
        return None
    found = {ours: _number(value.get(theirs)) for ours, theirs in _USAGE.items()}
    return found if all(isinstance(each, int) for each in found.values()) else None


_USAGE = {"prompt": "input_tokens", "completion": "output_tokens", "total": "total_tokens"}


def _number(value: Any) -> Any:
    """A number of extended JSON as the number it is."""
    digits = value.get("$numberInt", value.get("$numberLong")) if isinstance(value, Mapping) else None
    return int(digits) if isinstance(digits, str) and digits.lstrip("-").isdecimal() else value


def _created_at(value: object) -> str | None:
    """When an ObjectId was made; other ids tell nothing."""
    id = value.get("$oid") if isinstance(value, Mapping) else value
    return ObjectId(id).generation_time.isoformat() if isinstance(id, str) and ObjectId.is_valid(id) else None
