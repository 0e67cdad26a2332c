"""The tables of conversations and messages."""

from dataclasses import replace

from app.conversations.model import (
    CONVERSATION_STATUSES,
    MESSAGE_ROLES,
    MESSAGE_STATUSES,
    RATINGS,
    Conversation,
    Message,
)
from app.kit.resource import Column, Resource

CONVERSATIONS = Resource(
    name="conversations",
    singular="conversation",
    live_filter={"status": {"$ne": "deleted"}},
    reader_path="readers",
    writer_path="writers",
    arrival_path="arrived_at",
    windowed=Conversation.windowed,
    normalized=Conversation.normalized,
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("title", "Title", filterable=True, sortable=True, mutable=True, searchable=True),
        Column("system_prompt", "System prompt", nullable=True),
        Column("model", "Model", nullable=True, filterable=True),
        Column("tags", "Tags", "texts", filterable=True),
        Column("metadata", "Metadata", "json"),
        Column("status", "Status", choices=CONVERSATION_STATUSES, filterable=True),
        Column("message_count", "Messages", "integer", filterable=True),
        Column("last_seq", "Last number", "integer", exported=False),
        Column(
            "last_message_at", "Last message", "instant", nullable=True, filterable=True, sortable=True, mutable=True
        ),
        Column("parent.conversation_id", "Forked from", "id", nullable=True, exported=False),
        Column("parent.seq", "Forked at", "integer", nullable=True, exported=False),
        Column("version", "Version", "integer", exported=False),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("updated_at", "Updated", "instant", filterable=True, sortable=True, mutable=True),
    ),
)

MESSAGES = Resource(
    name="messages",
    singular="message",
    live_filter={"deleted_at": None},
    normalized=Message.normalized,
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("conversation_id", "Conversation", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("seq", "Number", "integer", filterable=True),
        Column("role", "Role", choices=MESSAGE_ROLES, filterable=True),
        Column("content", "Content", searchable=True),
        Column("status", "Status", choices=MESSAGE_STATUSES, filterable=True),
        Column("tool_calls", "Tool calls", "json", nullable=True),
        Column("tool_call_id", "Answers tool call", nullable=True),
        Column("reasoning", "Reasoning", nullable=True),
        Column("turn_id", "Turn", "id", nullable=True, filterable=True),
        Column("model", "Model", nullable=True, filterable=True),
        Column("provider", "Provider", nullable=True, filterable=True),
        Column("usage.prompt", "Prompt tokens", "integer", nullable=True),
        Column("usage.completion", "Completion tokens", "integer", nullable=True),
        Column("usage.total", "Tokens", "integer", nullable=True),
        Column("cost", "Cost (USD)", "number", nullable=True),
        Column("finish_reason", "Finish reason", nullable=True, filterable=True),
        Column("error.code", "Error", nullable=True, filterable=True),
        Column("error.message", "Error message", nullable=True),
        Column("feedback.rating", "Rating", choices=RATINGS, nullable=True, filterable=True),
        Column("feedback.comment", "Feedback", nullable=True),
        Column("metadata", "Metadata", "json"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)

TRANSCRIPT = replace(
    MESSAGES,
    default_sort="seq",
    columns=tuple(
        replace(column, sortable=column.name == "seq", unique=column.name == "seq")
        for column in MESSAGES.columns
        if column.name not in {"conversation_id", "owner_id"}
    ),
)
"""The messages of one conversation, whose order is their number."""
