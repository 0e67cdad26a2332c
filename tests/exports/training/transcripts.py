"""Transcripts as they are read from the database, and what a format makes of them."""

import json
from typing import Any

from bson import ObjectId

from app.exports.training.formats import TRAINING_FORMATS
from app.exports.training.model import REASONS, Line, Omission, TrainingOptions, Transcript
from app.kit.repository import Row
from tests.exports.training.rules import CHECKS

WEATHER = {"type": "function", "function": {"name": "weather", "description": "天气", "parameters": {"type": "object"}}}


def user(content: str = "Hi", **fields: Any) -> Row:
    return said("user", content, **fields)


def assistant(content: str = "Hello", **fields: Any) -> Row:
    return said("assistant", content, **fields)


def calls(
    *ids: str, content: str = "", arguments: str = '{"city":"上海"}', name: str = "weather", **fields: Any
) -> Row:
    made = [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}} for id in ids]
    return said("assistant", content, tool_calls=made, **fields)


def result(id: str, content: str = "sunny") -> Row:
    return said("tool", content, tool_call_id=id)


def rated(row: Row, rating: str) -> Row:
    return {**row, "feedback": {"rating": rating, "comment": None}}


def generated(content: str, *, superseded: bool = False, **fields: Any) -> Row:
    """An answer of a turn; superseded ones keep how they ended in their finish reason alone."""
    status = "superseded" if superseded else "complete"
    return said("assistant", content, turn_id=ObjectId(), finish_reason="stop", status=status, **fields)


def said(role: str, content: str, **fields: Any) -> Row:
    return {
        "kind": "message",
        "role": role,
        "content": content,
        "tool_calls": None,
        "tool_call_id": None,
        "status": "complete",
        "turn_id": None,
        "provider": None,
        "finish_reason": None,
        "error": None,
        "feedback": None,
        **fields,
    }


def transcript(*messages: Row, tools: Any = None, is_whole: bool = True, **conversation: Any) -> Transcript:
    """The messages with the numbers from 1 on. `tools`: offered from the first answer on."""
    rows = [{"seq": seq, **row} for seq, row in enumerate(messages, start=1)]
    offered = [{"tools": json.dumps(tools), "first": 2}] if tools else []
    return Transcript({"_id": ObjectId(), "system_prompt": None, **conversation}, rows, offered, is_whole=is_whole)


def make(format: str, given: Transcript, **options: Any) -> tuple[list[Line], list[Omission]]:
    """The lines, which meet the format's rules, and what is in none of them, with known reasons."""
    lines: list[Line] = []
    omissions: list[Omission] = []
    for made in TRAINING_FORMATS[format].make(given, TrainingOptions(**options)):
        if isinstance(made, Omission):
            assert made.code in REASONS
            omissions.append(made)
        else:
            CHECKS[format](made)
            lines.append(made)
    return lines, omissions


def line_of(format: str, given: Transcript, **options: Any) -> Line:
    """The only line, nothing being left out."""
    lines, omissions = make(format, given, **options)
    assert omissions == []
    assert len(lines) == 1
    return lines[0]


def left_out(format: str, given: Transcript, **options: Any) -> Omission:
    """Why there is no line."""
    lines, omissions = make(format, given, **options)
    assert lines == []
    assert len(omissions) == 1
    return omissions[0]
