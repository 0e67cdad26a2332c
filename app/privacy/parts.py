"""What belongs to people: the services that an erasure has to do with."""

from dataclasses import dataclass

from app.auth.access import Access
from app.conversations.links import Links
from app.conversations.service import ConversationService
from app.conversations.sharing import Sharing
from app.exports.jobs import ExportJobs
from app.exports.schedules import ExportSchedules
from app.imports.jobs import ImportJobs
from app.turns.service import TurnService
from app.users.service import UserService
from app.webhooks.service import WebhookService


@dataclass(frozen=True)
class Parts:
    users: UserService
    access: Access
    conversations: ConversationService
    sharing: Sharing
    links: Links
    turns: TurnService
    imports: ImportJobs
    exports: ExportJobs
    schedules: ExportSchedules
    webhooks: WebhookService
