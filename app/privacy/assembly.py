"""Putting the parts of privacy together."""

from dataclasses import dataclass

from app.kit.paging import Cursors
from app.kit.transactions import Transactions
from app.privacy.archive import PersonalData
from app.privacy.erasures import Erasures
from app.privacy.holds import Holds
from app.privacy.parts import Parts
from app.privacy.purging import Purging
from app.privacy.repository import AgedConversations, ErasureRepository, HoldRepository, PolicyRepository
from app.privacy.retention import Retention
from app.privacy.selection import Selection
from app.privacy.upkeep import PrivacyUpkeep


@dataclass(frozen=True)
class Privacy:
    holds: Holds
    purging: Purging
    erasures: Erasures
    retention: Retention
    data: PersonalData
    upkeep: PrivacyUpkeep


def build_privacy(cursors: Cursors, transactions: Transactions, parts: Parts) -> Privacy:
    users, conversations = parts.users.rows, parts.conversations
    rows = ErasureRepository(cursors)
    holds = Holds(HoldRepository(cursors), users, conversations.rows, rows, transactions)
    purging = Purging(parts, cursors)
    erasures = Erasures(rows, holds, purging, parts, transactions, cursors)
    retention = Retention(PolicyRepository(cursors), Selection(AgedConversations(cursors), users), purging)
    conversations.guard_with(holds.guard)
    parts.imports.remove_with(purging.purge, holds.guard)
    return Privacy(
        holds=holds,
        purging=purging,
        erasures=erasures,
        retention=retention,
        data=PersonalData(cursors),
        upkeep=PrivacyUpkeep(erasures, retention),
    )
