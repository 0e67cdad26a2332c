"""The index of what messages say."""

from typing import Any

from app.conversations.model import UNMARKED, Message
from app.search.index import TextIndex
from app.search.table import Table


def content_index(**options: Any) -> TextIndex:
    """Of messages whose text is whole; those of one conversation are removed together."""
    messages = Table(
        collection=Message.get_pymongo_collection(),
        text="content",
        owner="owner_id",
        group="conversation_id",
        order="created_at",
        ready={"status": {"$ne": "streaming"}},
        unmarked_index=UNMARKED,
    )
    return TextIndex("messages_v1", messages, **options)
