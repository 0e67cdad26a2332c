"""The index of what messages say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId

from app.conversations.model import UNMARKED, Message
from app.kit.listing import Listing
from app.kit.repository import Scope
from app.search.index import TextIndex
from app.search.plans import Sought
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
    return TextIndex("messages", messages, **options)


def sought_of(scope: Scope, listing: Listing, filters: Sequence[Mapping[str, Any]]) -> Sought | None:
    """What the index is asked for a list; None when it cannot help."""
    if listing.search is None or listing.sort.path != "created_at":
        return None
    conditions = [scope.filter, *filters]
    return Sought.of(
        listing.search.needs,
        owner=value_of("owner_id", conditions),
        group=value_of("conversation_id", conditions),
    )


def value_of(path: str, conditions: Iterable[Mapping[str, Any]]) -> ObjectId | None:
    """The id that a path has to be equal to, if one of the conditions says so."""
    for condition in conditions:
        value = condition.get(path)
        value = value.get("$eq") if isinstance(value, Mapping) else value
        if isinstance(value, ObjectId):
            return value
    return None
