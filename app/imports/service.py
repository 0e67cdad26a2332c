"""Imports: conversations from files, each stored whole or not at all, and never twice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.model import Conversation, Message
from app.conversations.repository import ConversationRepository, MessageRepository
from app.imports.readers import Format, open_source
from app.imports.records import BadRecord, ImportedConversation, Record
from app.kit.clock import now
from app.kit.threads import in_thread
from app.kit.transactions import Transactions

BATCH_CONVERSATIONS = 200
BATCH_MESSAGES = 2000
BATCH_CHARACTERS = 2 * 1024 * 1024


@dataclass
class ImportReport:
    """What an import did so far; sizes are those of the file as it is stored."""

    format: Format
    size_bytes: int
    bytes_read: int = 0
    added: int = 0
    messages: int = 0
    present: int = 0
    """Conversations that were there already, by their source id; of several in one file the first is added."""
    bad: list[BadRecord] = field(default_factory=list)
    bad_count: int = 0

    def note_bad(self, record: BadRecord) -> None:
        self.bad_count += 1
        if len(self.bad) < BAD_KEPT:
            self.bad.append(record)


BAD_KEPT = 1000
"""Bad records beyond this are counted but not kept."""

Progress = Callable[[ImportReport], None]


class ImportService:
    def __init__(
        self, conversations: ConversationRepository, messages: MessageRepository, transactions: Transactions
    ) -> None:
        self._conversations = conversations
        self._messages = messages
        self._transactions = transactions

    async def run(self, path: Path, owner_id: ObjectId, progress: Progress = lambda _: None) -> ImportReport:
        """Import the file for one owner; raises UnreadableSource when it cannot be read at all.

        It may be interrupted at any point and run again: what is there already is left alone.
        """
        source = await in_thread(partial(open_source, path))
        report = ImportReport(source.format, source.size_bytes)
        records = iter(source)
        try:
            while batch := await in_thread(partial(_take, records)):
                await self._store(owner_id, batch, report)
                report.bytes_read = source.bytes_read
                progress(report)
        finally:
            await in_thread(records.close)
        return report

    async def _store(self, owner_id: ObjectId, batch: list[Record], report: ImportReport) -> None:
        wanted: dict[str, ImportedConversation] = {}
        for record in batch:
            if isinstance(record, BadRecord):
                report.note_bad(record)
            else:
                report.present += 1
                wanted.setdefault(f"{report.format}:{record.source_id}", record)
        added = await self._add(owner_id, wanted)
        report.added += len(added)
        report.present -= len(added)
        report.messages += sum(len(conversation.messages) for conversation in added)

    async def _add(self, owner_id: ObjectId, wanted: dict[str, ImportedConversation]) -> Sequence[ImportedConversation]:
        """Store those of `wanted` that this owner does not have, in one transaction; answers them."""

        async def write() -> list[ImportedConversation]:
            known = await self._conversations.known_sources(owner_id, wanted)
            new = {id: record for id, record in wanted.items() if id not in known}
            documents = [_documents(owner_id, source_id, record) for source_id, record in new.items()]
            if documents:
                await self._conversations.insert_many([conversation for conversation, _ in documents])
                messages = [message for _, each in documents for message in each]
                if messages:
                    await self._messages.insert_many(messages)
            return list(new.values())

        while wanted:
            try:
                return await self._transactions.run(write)
            except DuplicateKeyError:
                # Another import has just stored some of them: known the next time, and again fewer that can meet.
                continue
        return []


def _take(records: Iterator[Record]) -> list[Record]:
    """The next batch: bounded in conversations, messages and characters, so that its transaction stays small."""
    batch: list[Record] = []
    messages = characters = 0
    for record in islice(records, BATCH_CONVERSATIONS):
        batch.append(record)
        if isinstance(record, ImportedConversation):
            messages += len(record.messages)
            characters += sum(len(message.content) for message in record.messages)
        if messages >= BATCH_MESSAGES or characters >= BATCH_CHARACTERS:
            break
    return batch


def _documents(owner_id: ObjectId, source_id: str, record: ImportedConversation) -> tuple[Conversation, list[Message]]:
    instant = now()
    created_at = record.created_at or instant
    last_message_at = max((message.created_at or created_at for message in record.messages), default=None)
    conversation = Conversation(
        owner_id=owner_id,
        title=record.title,
        tags=list(dict.fromkeys(tag.strip() for tag in record.tags)),
        last_seq=len(record.messages),
        message_count=len(record.messages),
        last_message_at=last_message_at,
        source_id=source_id,
        created_at=created_at,
        updated_at=instant,
    )
    messages = [
        Message(
            conversation_id=conversation.id,
            owner_id=owner_id,
            seq=seq,
            role=message.role,
            content=message.content,
            model=message.model,
            metadata=message.metadata,
            created_at=message.created_at or created_at,
            updated_at=instant,
        )
        for seq, message in enumerate(record.messages, start=1)
    ]
    return conversation, messages
