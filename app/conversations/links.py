"""Links that show a conversation to whoever has them, until they expire or are revoked."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pymongo
from bson import ObjectId

from app.audit.audited import AuditedRepository
from app.conversations.repository import ConversationRepository, MessageRepository
from app.conversations.resource import CONVERSATIONS, TRANSCRIPT
from app.conversations.share_model import ShareLink
from app.conversations.sharing_schemas import LinkCreate, SharedConversation, SharedMessage
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.errors import Conflict, Invalid, NotFound
from app.kit.listing import Listing
from app.kit.paging import Page
from app.kit.repository import Row, Scope
from app.kit.resource import Column, Resource
from app.kit.security import SHOWN_CHARACTERS, hash_key, new_link_token
from app.kit.transactions import current_session

MAX_LINKS = 20
"""Links that one conversation may have."""
_USUAL_LIFE = timedelta(days=30)
_LONGEST_LIFE = timedelta(days=366)
_REFUSAL = "This link is unknown, expired or revoked."
"""The same words whatever is wrong."""

LINKS = Resource(
    name="links",
    singular="link",
    columns=(
        Column("id", "Id", "id"),
        Column("conversation_id", "Conversation", "id"),
        Column("name", "Name"),
        Column("prefix", "Begins with"),
        Column("expires_at", "Expires", "instant"),
        Column("created_at", "Created", "instant", sortable=True),
    ),
)


SHARED_TRANSCRIPT = replace(
    TRANSCRIPT,
    name="shared-messages",
    columns=tuple(
        replace(column, filterable=False, searchable=False)
        for column in TRANSCRIPT.columns
        if column.name in SharedMessage.model_fields
    ),
)
"""The columns of a transcript that a link shows, none of which can be searched or filtered by."""


class LinkRepository(AuditedRepository[ShareLink]):
    document = ShareLink
    resource = LINKS

    async def of_conversation(self, conversation_id: ObjectId) -> list[Row]:
        """The newest first."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find(
                {"conversation_id": conversation_id},
                LINKS.projection,
                sort=[("created_at", -1), ("_id", -1)],
                limit=MAX_LINKS,
            ).to_list()

    async def conversation_of(self, secret_hash: str) -> ObjectId | None:
        """The conversation that a link shows, unless it is over."""
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(
                {"hash": secret_hash, "expires_at": {"$gt": now()}}, {"_id": 0, "conversation_id": 1}
            )
        return None if row is None else row["conversation_id"]

    async def delete_of(self, condition: Mapping[str, ObjectId]) -> None:
        """Those of an owner or a conversation."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many(dict(condition), session=current_session())


class Links:
    def __init__(
        self, rows: LinkRepository, conversations: ConversationRepository, messages: MessageRepository
    ) -> None:
        self.rows = rows
        self._conversations = conversations
        self._messages = messages

    async def create(self, scope: Scope, id: ObjectId, new: LinkCreate) -> tuple[Row, str]:
        """A new link of the conversation: its row, and the secret, which is not kept. Raises NotFound, Forbidden,
        Invalid, Conflict."""
        conversation = await self._conversations.get(scope, id, fields=("owner_id",))
        instant = now()
        expires_at = new.expires_at or instant + _USUAL_LIFE
        if not instant < expires_at <= instant + _LONGEST_LIFE:
            raise Invalid.field("body.expires_at", "lies in the future, at most a year away")
        if len(await self.rows.of_conversation(id)) >= MAX_LINKS:
            raise Conflict(f"A conversation has at most {MAX_LINKS} links; revoke one first.", reason="too_many_links")
        token = new_link_token()
        row = await self.rows.insert(
            ShareLink(
                conversation_id=id,
                owner_id=conversation["owner_id"],
                name=new.name,
                prefix=token[:SHOWN_CHARACTERS],
                hash=hash_key(token),
                expires_at=expires_at,
            )
        )
        return row, token

    async def of(self, scope: Scope, id: ObjectId) -> list[Row]:
        """Raises NotFound, Forbidden."""
        await self._conversations.get(scope, id, fields=("id",))
        return await self.rows.of_conversation(id)

    async def revoke(self, scope: Scope, id: ObjectId, link_id: ObjectId) -> None:
        """Raises NotFound, Forbidden."""
        await self._conversations.get(scope, id, fields=("id",))
        await self.rows.delete(Scope({"conversation_id": id}), link_id)

    async def conversation(self, token: str) -> Row:
        """What the link shows of its conversation. Raises NotFound."""
        scope = await self._scope(token, "_id")
        row = await self._conversations.find(
            scope, CONVERSATIONS.live_filter, fields=tuple(SharedConversation.model_fields)
        )
        if row is None:
            raise NotFound(_REFUSAL)
        return row

    async def transcript(self, token: str, listing: Listing) -> Page:
        """A page of the messages that the link shows: those of the exchange, not what was superseded. Raises
        NotFound."""
        scope = await self._scope(token, "conversation_id")
        page = await self._messages.page(scope, listing, {"status": {"$ne": "superseded"}})
        if not page.rows:
            await self.conversation(token)
        return page

    async def _scope(self, token: str, path: str) -> Scope:
        id = await self.rows.conversation_of(hash_key(token))
        if id is None:
            raise NotFound(_REFUSAL)
        return Scope({path: id}, asker=id)
