"""Records as the documents that are stored."""

from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.conversations.model import Conversation, Message
from app.imports.records import ImportedConversation, ImportedMessage
from app.kit.clock import now


@dataclass(frozen=True)
class Destination:
    """Whose the conversations become, of which import; `restore`: ids and times of our own exports are kept."""

    owner_id: ObjectId
    import_id: ObjectId | None = None
    restore: bool = False


def documents_of(
    destination: Destination, source_id: str, record: ImportedConversation
) -> tuple[Conversation, list[Message]]:
    """The conversation and its messages."""
    instant = now()
    is_restored = destination.restore and record.is_ours
    created_at = record.created_at or instant
    last_message_at = max((message.created_at or created_at for message in record.messages), default=None)
    conversation = Conversation(
        **({"id": ObjectId(record.source_id)} if is_restored else {}),
        owner_id=destination.owner_id,
        import_id=destination.import_id,
        title=record.title,
        system_prompt=record.system_prompt,
        model=record.model,
        tags=list(dict.fromkeys(tag.strip() for tag in record.tags)),
        metadata=record.metadata,
        status=record.status,
        tokens=_tokens(record),
        last_seq=len(record.messages),
        message_count=len(record.messages),
        last_message_at=(record.last_message_at if is_restored else None) or last_message_at,
        source_id=source_id,
        arrived_at=instant if is_restored else None,
        created_at=created_at,
        updated_at=(record.updated_at if is_restored else None) or instant,
    )
    shared = {"conversation_id": conversation.id, "owner_id": destination.owner_id, "updated_at": instant}
    messages = [
        Message(**shared, seq=seq, created_at=message.created_at or created_at, **_fields(message, keep_id=is_restored))
        for seq, message in enumerate(record.messages, start=1)
    ]
    return conversation, messages


_FIELDS = (
    *("role", "content", "model", "metadata", "status", "provider", "usage", "cost", "finish_reason", "error"),
    *("feedback", "tool_calls", "tool_call_id", "reasoning"),
)


def _fields(message: ImportedMessage, *, keep_id: bool) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in _FIELDS}
    return {**fields, "id": message.id} if keep_id and message.id is not None else fields


def _tokens(record: ImportedConversation) -> dict[str, int]:
    used = [message.usage for message in record.messages if message.usage]
    return {name: sum(usage[name] for usage in used) for name in ("prompt", "completion", "total")}


SHOWN_CONVERSATIONS = 3
SHOWN_MESSAGES = 4
SHOWN_CHARACTERS = 300


def preview_of(record: ImportedConversation, conversation: Conversation, messages: list[Message]) -> dict[str, Any]:
    """A conversation as it would be stored: its first messages, long texts cut."""
    return {
        "source_id": record.source_id,
        "title": conversation.title,
        "tags": conversation.tags,
        "created_at": conversation.created_at,
        "message_count": conversation.message_count,
        "messages": [
            {
                "seq": message.seq,
                "role": message.role,
                "content": _cut(message.content),
                "model": message.model,
                "created_at": message.created_at,
            }
            for message in messages[:SHOWN_MESSAGES]
        ],
    }


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
