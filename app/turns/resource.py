"""The table of turns. The messages of a turn are shown inside it, so they are no columns."""

from typing import get_args

from app.kit.resource import Column, Resource
from app.turns.model import TurnState

TURNS = Resource(
    name="turns",
    singular="turn",
    columns=(
        Column("id", "Id", "id"),
        Column("conversation_id", "Conversation", "id"),
        Column("owner_id", "Owner", "id"),
        Column("state", "State", choices=get_args(TurnState)),
        Column("user_message_id", "Question", "id", nullable=True),
        Column("assistant_message_id", "Answer", "id"),
        Column("model", "Model"),
        Column("usage", "Usage", "json", nullable=True),
        Column("error", "Error", "json", nullable=True),
        Column("attempts", "Failed attempts", "json"),
        Column("suggestions", "Suggested questions", "json", nullable=True),
        Column("last_event", "Last event", "integer", nullable=True),
        Column("started_at", "Started", "instant", nullable=True),
        Column("first_token_at", "First token", "instant", nullable=True),
        Column("finished_at", "Finished", "instant", nullable=True),
        Column("version", "Version", "integer"),
        Column("created_at", "Created", "instant"),
    ),
)

STORED_TURN = {
    **TURNS.projection,
    **dict.fromkeys(("answer_seq", "worker", "sampling", "tools", "tool_choice", "wants_suggestions"), 1),
}
"""The projection of what is needed to run a turn."""
