"""A turn as clients see it: with both of its messages inside."""

from collections.abc import Mapping
from typing import Any

from app.conversations.resource import MESSAGES
from app.kit.repository import Row
from app.turns.resource import TURNS

_MESSAGES = {"user_message_id": "user_message", "assistant_message_id": "assistant_message"}


def render_turn(turn: Row, *messages: Row | None, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The wire object of a stored turn and its stored messages, in any order. A purged message is null.

    `question`: the user's message as it was rendered before.
    """
    by_id = {message["_id"]: MESSAGES.render(message) for message in messages if message is not None}
    if question is not None:
        by_id[question["id"]] = dict(question)
    return {
        _MESSAGES.get(name, name): by_id.get(value) if name in _MESSAGES else value
        for name, value in TURNS.render(turn).items()
    }
