"""All services over one open database: what the API and the command line share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from bson import ObjectId

from app.audit.repository import AuditRepository
from app.auth.access import Access, build_access
from app.auth.service import KeyService
from app.config import Settings
from app.conversations.content_index import content_index
from app.conversations.matches import MatchRepository
from app.conversations.repository import ConversationRepository, DeletedConversationRepository, MessageRepository
from app.conversations.search import MessageSearch
from app.conversations.service import ConversationService
from app.database import Database, open_database
from app.exports.jobs import ExportJobs, ExportQuota
from app.exports.repository import ExportRepository, ScheduleRepository
from app.exports.schedules import ExportSchedules
from app.exports.service import ScopeOf, Sources
from app.exports.training.reading import TranscriptSource
from app.imports.assembly import build_imports
from app.imports.jobs import ImportJobs
from app.jobs.files import JobFiles
from app.jobs.service import JobOptions, Jobs
from app.kit.addresses import AddressGuard
from app.kit.changes import ChangeFeed
from app.kit.errors import Conflict
from app.kit.etag import Versions
from app.kit.repository import EVERYTHING, Repository, Scope
from app.kit.turnstile import Turnstile
from app.llm.service import LanguageModels
from app.rooms.repository import PresenceRepository, TranscriptRepository
from app.rooms.service import Rooms
from app.search.index import TextIndex
from app.turns.aftermath import Aftermath, AftermathOptions
from app.turns.beginning import Beginnings
from app.turns.events import EventRepository
from app.turns.exchange import Exchanges
from app.turns.finisher import TurnFinisher
from app.turns.housekeeping import Housekeeping
from app.turns.repository import TurnRepository
from app.turns.request import HistoryBudget, RequestBuilder
from app.turns.runner import TurnRunner
from app.turns.service import TurnService
from app.turns.streams import TurnStreams
from app.turns.workers import Membership, WorkerRepository
from app.users.repository import UserRepository
from app.users.service import UserService
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.events import EventReader, sources
from app.webhooks.inbound import InboundHooks
from app.webhooks.relay import Relay
from app.webhooks.repository import DeliveryRepository, HookRepository, RelayRepository, WebhookRepository
from app.webhooks.retries import Times
from app.webhooks.sender import Sender
from app.webhooks.service import WebhookService
from app.webhooks.subscriptions import Subscriptions

Fate = Literal["delete", "keep"]
"""What becomes of a deleted user's conversations."""

PURGE_BATCH = 100


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    users: UserService
    access: Access
    audit: AuditRepository
    conversations: ConversationService
    search: MessageSearch
    turns: TurnService
    imports: ImportJobs
    exports: ExportJobs
    schedules: ExportSchedules
    models: LanguageModels
    changes: ChangeFeed
    housekeeping: Housekeeping
    rooms: Rooms
    content_index: TextIndex
    webhooks: WebhookService

    @property
    def keys(self) -> KeyService:
        return self.access.keys

    @property
    def sources(self) -> Sources:
        """The repositories of what can be exported."""
        rows: tuple[Repository[Any], ...] = (
            self.users.rows,
            self.conversations.rows,
            self.conversations.messages,
            self.turns.rows,
            self.audit,
        )
        return {each.resource.name: each for each in rows}

    def transcripts(self, scope_of: ScopeOf) -> TranscriptSource:
        """Whole conversations, as far as they may be seen."""
        return TranscriptSource(self.conversations.rows, self.conversations.messages, self.turns.rows, scope_of)

    def open(self) -> None:
        """Follow what other processes write, and see to the turns of all of them."""
        self.changes.open()
        self.housekeeping.open()
        self.content_index.open(builds=self.settings.search_builder)
        if self.settings.webhook_delivery:
            self.webhooks.open()
        self.exports.open(self.sources, slice_rows=self.settings.export_slice_rows)
        self.schedules.open()
        self.imports.open()

    async def aclose(self) -> None:
        """Let running turns finish for a while, then close what is open."""
        await self.schedules.aclose()
        await self.exports.jobs.aclose()
        await self.imports.jobs.aclose()
        await self.turns.runner.aclose(self.settings.drain_timeout)
        await self.webhooks.aclose()
        await self.rooms.aclose()
        await self.housekeeping.aclose()
        await self.content_index.aclose()
        await self.changes.aclose()
        await self.access.aclose()
        await self.models.aclose()

    async def delete_user(
        self, scope: Scope, id: ObjectId, conversations: Fate | None, versions: Versions = None
    ) -> None:
        """Remove a user with keys; their conversations are deleted for good, or kept for admins to see.

        Without a word about the conversations a user who has some stays: raises Conflict. Every refusal comes before
        anything is lost. Cut short, the user is disabled and it can be done again: the user goes last.
        """
        await self.users.rows.get(scope, id)
        owned = self.conversations.rows
        if conversations is None and await owned.ids_of_owner(id, limit=1):
            raise Conflict(
                "This user has conversations; say conversations=delete or conversations=keep.",
                reason="user_has_conversations",
            )

        async def remove() -> None:
            await self.schedules.rows.delete_of_owner(id)
            await self.users.delete(scope, id)
            await self.keys.rows.delete_of_user(id)
            await self.access.sessions.rows.remove_of_user(id)

        with self.keys.forgetting():
            await self.users.disable(scope, id, versions)  # so that no conversation is added any more
        await self.imports.delete_of_user(id)
        while conversations == "delete" and (ids := await owned.ids_of_owner(id, limit=PURGE_BATCH)):
            for each in ids:
                await self.purge_conversation(EVERYTHING, each)
        await self.exports.delete_of_user(id)
        await self.webhooks.forget_owner(id)
        with self.keys.forgetting():
            await self.database.transactions.run(remove)

    async def purge_conversation(self, scope: Scope, id: ObjectId, versions: Versions = None) -> None:
        """Remove a conversation with its messages and turns for good. Cut short, it can be done again."""
        await self.conversations.condemn(scope, id, versions)
        await self.turns.cancel_all(EVERYTHING, id)
        async with self.conversations.alone(id):
            await self.turns.purge(id)
            await self.conversations.purge(scope, id)
            await self.webhooks.forget_conversation(id)


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open the database and build every service on it; closing lets running turns finish first."""
    async with open_database(settings) as database:
        services = build_services(settings, database)
        try:
            yield services
        finally:
            await services.aclose()


def build_services(settings: Settings, database: Database) -> Services:
    cursors, transactions = database.cursors, database.transactions
    turnstile = Turnstile(settings.max_scans, per_caller=settings.max_scans_per_user)
    users = UserRepository(cursors, turnstile)
    conversations = ConversationRepository(cursors, turnstile)
    index = content_index()
    messages = MessageRepository(cursors, turnstile, index)
    transcripts = ConversationService(
        conversations,
        DeletedConversationRepository(cursors),
        messages,
        transactions,
        max_message_bytes=settings.max_message_bytes,
    )
    models = LanguageModels(settings)
    changes = ChangeFeed(database.client[database.name])
    membership = Membership(WorkerRepository(lease_seconds=settings.turn_lease))
    turn_rows = TurnRepository(cursors, turnstile)
    turns, housekeeping = _build_turns(settings, database, turn_rows, transcripts, models, changes, membership)
    rooms = Rooms(conversations, turns.rows, TranscriptRepository(cursors), PresenceRepository(), membership, changes)
    housekeeping.inherit(rooms.tidy)
    exports = _build_exports(settings, database, users, membership, changes)
    housekeeping.inherit(exports.jobs.upkeep.tidy)
    imports = build_imports(settings, cursors, transactions, conversations, messages, membership, changes)
    housekeeping.inherit(imports.jobs.upkeep.tidy)
    services = Services(
        settings=settings,
        database=database,
        users=UserService(users, transactions),
        access=build_access(settings, cursors, transactions, users),
        audit=AuditRepository(cursors),
        conversations=transcripts,
        search=MessageSearch(
            messages,
            MatchRepository(cursors),
            conversations,
            cursors,
            text_language=settings.text_language if settings.text_search else None,
        ),
        turns=turns,
        imports=imports,
        exports=exports,
        schedules=ExportSchedules(ScheduleRepository(cursors), exports, transactions),
        models=models,
        changes=changes,
        housekeeping=housekeeping,
        rooms=rooms,
        content_index=index,
        webhooks=_build_webhooks(settings, database, transcripts, turns, users),
    )
    imports.remove_with(services.purge_conversation)
    return services


def _build_exports(
    settings: Settings, database: Database, users: UserRepository, membership: Membership, changes: ChangeFeed
) -> ExportJobs:
    rows = ExportRepository(database.cursors)
    options = JobOptions(workers=settings.export_workers, kept=timedelta(days=settings.export_days))
    jobs = Jobs(rows, JobFiles(rows.resource.name), database.transactions, membership, changes, options)
    quota = ExportQuota(settings.export_max_jobs, settings.export_max_bytes)
    return ExportJobs(jobs, rows, users, database.cursors, quota)


def _build_turns(
    settings: Settings,
    database: Database,
    rows: TurnRepository,
    conversations: ConversationService,
    models: LanguageModels,
    changes: ChangeFeed,
    membership: Membership,
) -> tuple[TurnService, Housekeeping]:
    events = EventRepository()
    finisher = TurnFinisher(rows, events, conversations, database.transactions)
    options = AftermathOptions(settings.helper_model, settings.auto_titles)
    aftermath = Aftermath(rows, conversations, models, options)

    async def go_on(id: ObjectId) -> None:
        await beginnings.go_on(id)

    runner = TurnRunner(events, finisher, aftermath, go_on=go_on)
    streams = TurnStreams(events, finisher, runner.log_of, changes, membership.id)
    budget = HistoryBudget(settings.history_max_messages, settings.history_max_tokens)
    beginnings = Beginnings(
        rows,
        runner,
        streams,
        finisher,
        RequestBuilder(conversations, budget),
        conversations,
        models,
        membership,
        database.transactions,
        default_model=settings.default_model,
    )
    exchanges = Exchanges(conversations, max_message_bytes=settings.max_message_bytes)
    turns = TurnService(rows, events, runner, streams, finisher, exchanges, beginnings)
    housekeeping = Housekeeping(
        rows,
        events,
        runner,
        finisher,
        conversations.rows,
        membership,
        changes,
        lease_seconds=settings.turn_lease,
        go_on=go_on,
    )
    return turns, housekeeping


def _build_webhooks(
    settings: Settings,
    database: Database,
    conversations: ConversationService,
    turns: TurnService,
    users: UserRepository,
) -> WebhookService:
    rows, deliveries = WebhookRepository(database.cursors), DeliveryRepository(database.cursors)
    state = RelayRepository(lease_seconds=settings.turn_lease)
    times, guard = Times(kept=timedelta(days=settings.webhook_log_days)), AddressGuard(settings.webhook_allow)
    subscriptions = Subscriptions(rows, users, times)
    sender = Sender(guard, timeout=settings.webhook_timeout)
    dispatcher = Dispatcher(rows, deliveries, sender, times, lease_seconds=2 * settings.webhook_timeout + 1)
    told = sources(conversations.rows, conversations.messages, turns.rows)
    relay = Relay(
        database.client[database.name],
        state,
        deliveries,
        subscriptions,
        lambda types: EventReader(told, types),
        dispatcher.wake,
    )
    inbound = InboundHooks(HookRepository(database.cursors), conversations, users)
    return WebhookService(rows, deliveries, state, relay, dispatcher, inbound, guard, times)
