"""Putting the parts of imports together."""

from datetime import timedelta

from app.config import Settings
from app.conversations.repository import ConversationRepository, MessageRepository
from app.imports.drafts import DraftRepository, Drafts
from app.imports.jobs import ImportJobs
from app.imports.repository import ImportedConversations, ImportedMessages, ImportRepository
from app.imports.service import ImportService
from app.imports.storing import Storing
from app.imports.undo import Undoing
from app.imports.work import ImportWork
from app.jobs.files import JobFiles
from app.jobs.service import JobOptions, Jobs
from app.kit.changes import ChangeFeed
from app.kit.paging import Cursors
from app.kit.transactions import Transactions
from app.turns.workers import RENEWALS_PER_LEASE, Membership, WorkerRepository


def build_imports(
    settings: Settings,
    cursors: Cursors,
    transactions: Transactions,
    conversations: ConversationRepository,
    messages: MessageRepository,
    membership: Membership,
    changes: ChangeFeed,
) -> ImportJobs:
    drafts = Drafts(DraftRepository(cursors), messages, transactions)
    imported, imported_messages = ImportedConversations(cursors), ImportedMessages(cursors)
    storing = Storing(conversations, messages, drafts, transactions, imported, imported_messages)
    undoing = Undoing(imported, imported_messages, messages, transactions)
    rows = ImportRepository(cursors)
    options = JobOptions(workers=settings.import_workers, kept=timedelta(days=settings.import_days))
    jobs = Jobs(rows, JobFiles(rows.resource.name), transactions, membership, changes, options)
    work = ImportWork(ImportService(storing), undoing, imported, rows)

    def new_member() -> Membership:
        return Membership(WorkerRepository(lease_seconds=settings.turn_lease))

    renew_seconds = settings.turn_lease / RENEWALS_PER_LEASE
    return ImportJobs(jobs, rows, work, new_member, renew_seconds, transactions, settings.import_max_jobs)
