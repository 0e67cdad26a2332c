"""A turn as clients see it: with both of its messages inside."""

from collections.abc import Sequence
from typing import Any

from app.conversations.resource import MESSAGES
from app.kit.repository import Row
from app.turns.resource import TURNS

_MESSAGES = {"user_message_id": "user_message", "assistant_message_id": "assistant_message"}


def render_turn(turn: Row, messages: Sequence[Row]) -> dict[str, Any]:
    """The wire object of a stored turn and its two messages, in any order. A purged message is null."""
    by_id = {message["_id"]: MESSAGES.render(message) for message in messages}
    return {
        _MESSAGES.get(name, name): by_id.get(value) if name in _MESSAGES else value
        for name, value in TURNS.render(turn).items()
    }
