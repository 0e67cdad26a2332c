"""Putting the parts of privacy together."""

from dataclasses import dataclass

from app.auth.access import Access
from app.conversations.service import ConversationService
from app.exports.jobs import ExportJobs
from app.exports.schedules import ExportSchedules
from app.imports.jobs import ImportJobs
from app.kit.paging import Cursors
from app.kit.transactions import Transactions
from app.privacy.archive import PersonalData
from app.privacy.erasures import Erasures
from app.privacy.holds import Holds
from app.privacy.purging import Purging
from app.privacy.repository import AgedConversations, ErasureRepository, HoldRepository, PolicyRepository
from app.privacy.retention import Retention
from app.privacy.selection import Selection
from app.privacy.upkeep import PrivacyUpkeep
from app.turns.service import TurnService
from app.users.service import UserService
from app.webhooks.service import WebhookService


@dataclass(frozen=True)
class Privacy:
    holds: Holds
    purging: Purging
    erasures: Erasures
    retention: Retention
    data: PersonalData
    upkeep: PrivacyUpkeep


def build_privacy(
    cursors: Cursors,
    transactions: Transactions,
    users: UserService,
    access: Access,
    conversations: ConversationService,
    turns: TurnService,
    imports: ImportJobs,
    exports: ExportJobs,
    schedules: ExportSchedules,
    webhooks: WebhookService,
) -> Privacy:
    rows = ErasureRepository(cursors)
    holds = Holds(HoldRepository(cursors), users.rows, conversations.rows, rows, transactions)
    purging = Purging(conversations, turns, webhooks, cursors)
    erasures = Erasures(
        rows=rows,
        holds=holds,
        purging=purging,
        users=users,
        access=access,
        conversations=conversations.rows,
        imports=imports,
        exports=exports,
        schedules=schedules,
        webhooks=webhooks,
        transactions=transactions,
        cursors=cursors,
    )
    retention = Retention(PolicyRepository(cursors), Selection(AgedConversations(cursors), users.rows), purging)
    conversations.guard_with(holds.guard)
    imports.remove_with(purging.purge, holds.guard)
    return Privacy(
        holds=holds,
        purging=purging,
        erasures=erasures,
        retention=retention,
        data=PersonalData(cursors),
        upkeep=PrivacyUpkeep(erasures, retention),
    )
