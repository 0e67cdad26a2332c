"""Hooks of other systems: each appends messages to one conversation for whoever knows its secret.

What it can do is fixed when it is made: the conversation and the role. It acts for the conversation's owner and ends
with them.
"""

import time
from collections.abc import Mapping

from bson import ObjectId

from app.conversations.schemas import MessageCreate
from app.conversations.service import ConversationService
from app.kit.errors import Conflict, WrongSignature
from app.kit.etag import Versions
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.signatures import SignedMessage, new_secret
from app.users.repository import UserRepository
from app.webhooks.model import Hook
from app.webhooks.repository import HookRepository
from app.webhooks.schemas import HookCreate, HookMessage

MAX_PER_CONVERSATION = 10


class InboundHooks:
    def __init__(self, rows: HookRepository, conversations: ConversationService, users: UserRepository) -> None:
        self.rows = rows
        self._conversations = conversations
        self._users = users

    async def create(self, scope: Scope, new: HookCreate) -> tuple[Row, str]:
        """A new hook and its secret, which is not shown again. `scope`: of the conversations that may be written to.
        Raises NotFound, Conflict."""
        conversation = await self._conversations.rows.get(scope, new.conversation_id, fields=("owner_id",))
        if await self.rows.count_of(new.conversation_id) >= MAX_PER_CONVERSATION:
            raise Conflict(
                f"{MAX_PER_CONVERSATION} hooks of a conversation are the most; delete one.", reason="too_many_hooks"
            )
        secret = new_secret()
        hook = Hook(**new.model_dump(), owner_id=conversation["owner_id"], secret=secret)
        return await self.rows.insert(hook), secret

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions) -> None:
        await self.rows.delete(scope, id, versions=versions)

    async def admit(self, id: ObjectId, headers: Mapping[str, str], body: bytes) -> tuple[Row, str]:
        """The hook, and the id of the message that comes with a right signature.

        Raises WrongSignature, with the same words whether the hook, the signature, the time or its owner is at fault.
        """
        message = SignedMessage.from_headers(headers)
        hook = await self.rows.with_secret(id)
        secret = new_secret() if hook is None else hook["secret"]  # so that it takes the same time
        message.verify([secret], body, at=time.time())
        owner = None
        if hook is not None:
            owner = await self._users.find(EVERYTHING, {"_id": hook["owner_id"]}, fields=("disabled",))
        if hook is None or owner is None or owner["disabled"]:
            raise WrongSignature
        return hook, message.id

    async def append(self, hook: Row, new: HookMessage) -> Row:
        """The message as it was stored. Raises NotFound when the conversation is deleted, Invalid."""
        scope = Scope({"owner_id": hook["owner_id"]})
        message = MessageCreate(role=hook["role"], content=new.content, metadata=new.metadata)
        appended = await self._conversations.append(scope, hook["conversation_id"], [message], place="body.content")
        return appended.messages[0]
