"""The table of turns: who asked what of which model, and what that took. Their words are messages."""

from typing import get_args

from app.kit.resource import Column, Resource
from app.turns.model import TurnState

TURNS = Resource(
    name="turns",
    singular="turn",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("conversation_id", "Conversation", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("state", "State", choices=get_args(TurnState), filterable=True),
        Column("user_message_id", "Question", "id", nullable=True),
        Column("assistant_message_id", "Answer", "id"),
        Column("model", "Model", filterable=True),
        Column("served_model", "Answered by", nullable=True, filterable=True),
        Column("provider", "Provider", nullable=True, filterable=True),
        Column("usage.prompt", "Prompt tokens", "integer", nullable=True),
        Column("usage.completion", "Completion tokens", "integer", nullable=True),
        Column("usage.total", "Tokens", "integer", nullable=True, filterable=True),
        Column("usage.estimated", "Tokens estimated", "boolean", nullable=True),
        Column("cost", "Cost (USD)", "number", nullable=True, filterable=True),
        Column("error.code", "Error", nullable=True, filterable=True),
        Column("error.message", "Error message", nullable=True),
        Column("failed_attempts", "Failed calls", "integer", filterable=True),
        Column("attempts", "Failed attempts", "json", exported=False),
        Column("suggestions", "Suggested questions", "json", nullable=True, exported=False),
        Column("last_event", "Last event", "integer", nullable=True, exported=False),
        Column("first_token_ms", "First token after (ms)", "integer", nullable=True, filterable=True),
        Column("total_ms", "Duration (ms)", "integer", nullable=True, filterable=True, sortable=True, mutable=True),
        Column("started_at", "Started", "instant", nullable=True),
        Column("first_token_at", "First token", "instant", nullable=True),
        Column("finished_at", "Finished", "instant", nullable=True),
        Column("version", "Version", "integer", exported=False),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)

STORED_TURN = {
    **TURNS.projection,
    **dict.fromkeys(
        ("answer_seq", "worker", "sampling", "tools", "tool_choice", "wants_suggestions", "payer", "supersedes"), 1
    ),
}
"""The projection of what is needed to run a turn."""
