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
from app.imports.drafts import DraftRepository, Drafts, fits
from app.imports.formats import Format
from app.imports.readers import open_source
from app.imports.records import BadRecord, ImportedConversation, Pause, Record
from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.threads import in_thread
from app.kit.transactions import Transactions

BATCH_CONVERSATIONS = 200
BATCH_TITLE_CHARACTERS = 20_000
"""Each is two index entries; a transaction of more than 100,000 does not end (measured)."""


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
Wanted = dict[str, ImportedConversation]
"""Conversations by the source id under which they are stored."""


class ImportService:
    def __init__(
        self,
        conversations: ConversationRepository,
        drafts: DraftRepository,
        messages: MessageRepository,
        transactions: Transactions,
    ) -> None:
        self._conversations = conversations
        self._messages = messages
        self._transactions = transactions
        self._drafts = Drafts(drafts, messages, transactions)

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
                raise_if_cancelled()
        finally:
            await in_thread(records.close)
        return report

    async def _store(self, owner_id: ObjectId, batch: list[Record], report: ImportReport) -> None:
        wanted: Wanted = {}
        for record in batch:
            if isinstance(record, BadRecord):
                report.note_bad(record)
            else:
                report.present += 1
                wanted.setdefault(f"{report.format}:{record.source_id}", record)
        short, long = _parted(wanted)
        added = [*await self._add(owner_id, short), *await self._add_long(owner_id, long)]
        report.added += len(added)
        report.present -= len(added)
        report.messages += sum(len(conversation.messages) for conversation in added)

    async def _add(self, owner_id: ObjectId, wanted: Wanted) -> Sequence[ImportedConversation]:
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

    async def _add_long(self, owner_id: ObjectId, wanted: Wanted) -> Sequence[ImportedConversation]:
        """The same for conversations too long for a transaction, one by one."""
        known = await self._conversations.known_sources(owner_id, wanted) if wanted else set()
        return [
            record
            for source_id, record in wanted.items()
            if source_id not in known and await self._drafts.store(*_documents(owner_id, source_id, record))
        ]


def _take(records: Iterator[Record | Pause]) -> list[Record]:
    """The next batch: as much as one transaction holds, and the conversation that is too much for it."""
    batch: list[Record] = []
    messages = characters = titles = 0
    for record in islice(records, BATCH_CONVERSATIONS):
        batch.append(record)
        if isinstance(record, ImportedConversation):
            messages += len(record.messages)
            characters += record.characters
            titles += len(record.title)
        if not fits(messages, characters) or titles > BATCH_TITLE_CHARACTERS:
            break
    return batch


def _parted(wanted: Wanted) -> tuple[Wanted, Wanted]:
    """Those that fit a transaction, and those that do not."""
    short: Wanted = {}
    long: Wanted = {}
    for source_id, record in wanted.items():
        target = short if fits(len(record.messages), record.characters) else long
        target[source_id] = record
    return short, long


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
