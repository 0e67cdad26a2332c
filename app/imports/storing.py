"""Storing conversations: in transactions of many, or as drafts where one is too long; each whole, and never twice."""

from collections.abc import Iterable, Mapping

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.repository import ConversationRepository, MessageRepository
from app.imports.documents import Destination, documents_of
from app.imports.drafts import Drafts, fits
from app.imports.records import ImportedConversation
from app.imports.repository import ImportedConversations, ImportedMessages
from app.kit.transactions import Transactions

Wanted = dict[str, ImportedConversation]
"""Conversations by the source id under which they are stored."""


class Storing:
    def __init__(
        self,
        conversations: ConversationRepository,
        messages: MessageRepository,
        drafts: Drafts,
        transactions: Transactions,
        imported: ImportedConversations,
        imported_messages: ImportedMessages,
    ) -> None:
        self._conversations = conversations
        self._messages = messages
        self._drafts = drafts
        self._transactions = transactions
        self._imported = imported
        self._imported_messages = imported_messages

    async def missing(self, destination: Destination, wanted: Wanted) -> Wanted:
        """Those that the owner does not have: neither imported, nor as what was exported from here."""
        known = await self._imported.known_sources(destination.owner_id, wanted)
        ours = {ObjectId(record.source_id): key for key, record in wanted.items() if record.is_ours}
        owners = await self._imported.owners(ours) if ours else {}
        known |= {ours[id] for id, owner_id in owners.items() if owner_id == destination.owner_id}
        return {key: record for key, record in wanted.items() if key not in known}

    async def refused(self, destination: Destination, wanted: Wanted) -> Mapping[str, str]:
        """Why some of the missing ones cannot be restored: an id of theirs is somebody else's."""
        if not destination.restore:
            return {}
        ids = {ObjectId(record.source_id): key for key, record in wanted.items() if record.is_ours}
        owners = await self._imported.owners(ids) if ids else {}
        found = {
            ids[id]: f"Conversation {id} is there already, and another user's"
            for id, owner_id in owners.items()
            if owner_id != destination.owner_id
        }
        messages = {
            message.id: key
            for key, record in wanted.items()
            if record.is_ours
            for message in record.messages
            if message.id is not None
        }
        taken = await self._imported_messages.existing(messages) if messages else set()
        return {**{messages[id]: f"Message {id} is there already, in another conversation" for id in taken}, **found}

    async def add(self, destination: Destination, wanted: Wanted) -> Wanted:
        """Store those that are missing and not refused; answers them."""
        short, long = _parted(wanted)
        return {**await self._add_together(destination, short), **await self._add_long(destination, long)}

    async def _add_together(self, destination: Destination, wanted: Wanted) -> Wanted:
        async def write() -> Wanted:
            new = await self._addable(destination, wanted)
            documents = [documents_of(destination, key, record) for key, record in new.items()]
            if documents:
                await self._conversations.insert_many([conversation for conversation, _ in documents])
            if messages := [message for _, each in documents for message in each]:
                await self._messages.insert_many(messages)
            return new

        while wanted:
            try:
                return await self._transactions.run(write)
            except DuplicateKeyError:
                # Another import has just stored some of them: known the next time, and again fewer that can meet.
                continue
        return {}

    async def _add_long(self, destination: Destination, wanted: Wanted) -> Wanted:
        """The same for conversations too long for a transaction, one by one."""
        new = await self._addable(destination, wanted) if wanted else {}
        return {
            key: record
            for key, record in new.items()
            if await self._drafts.store(*documents_of(destination, key, record))
        }

    async def _addable(self, destination: Destination, wanted: Wanted) -> Wanted:
        missing = await self.missing(destination, wanted)
        refused = await self.refused(destination, missing)
        return {key: record for key, record in missing.items() if key not in refused}


def _parted(wanted: Wanted) -> tuple[Wanted, Wanted]:
    """Those that fit a transaction, and those that do not."""
    short: Wanted = {}
    long: Wanted = {}
    for key, record in wanted.items():
        target = short if fits(len(record.messages), record.characters) else long
        target[key] = record
    return short, long


def keys_of(records: Iterable[ImportedConversation], namespace: str) -> Wanted:
    """The records by source id; of several with one id the first. Those of our own exports have a namespace of theirs,
    whichever file they come in."""
    wanted: Wanted = {}
    for record in records:
        wanted.setdefault(f"{'verbatim' if record.is_ours else namespace}:{record.source_id}", record)
    return wanted
