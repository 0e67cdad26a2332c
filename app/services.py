"""All services over one open database: what the API and the command line share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.audit.repository import AuditRepository
from app.auth.access import Access, build_access
from app.auth.service import KeyService
from app.config import Settings
from app.conversations.content_index import content_index
from app.conversations.links import LinkRepository, Links
from app.conversations.matches import MatchRepository
from app.conversations.repository import ConversationRepository, DeletedConversationRepository, MessageRepository
from app.conversations.revocations import Revocations
from app.conversations.search import MessageSearch
from app.conversations.service import ConversationService
from app.conversations.sharing import ShareRepository, Sharing
from app.database import Database, open_database
from app.exports.jobs import ExportJobs, ExportQuota
from app.exports.repository import ExportRepository, ScheduleRepository
from app.exports.resource import EXPORTS
from app.exports.schedules import ExportSchedules
from app.exports.service import ScopeOf, Sources
from app.exports.training.reading import TranscriptSource
from app.imports.assembly import build_imports
from app.imports.jobs import ImportJobs
from app.jobs.files import JobFiles
from app.jobs.service import JobOptions, Jobs
from app.kit.backlog import Backlog
from app.kit.changes import ChangeFeed
from app.kit.repository import Repository
from app.kit.turnstile import Turnstile
from app.limits.assembly import Limits, build_limits
from app.limits.quotas import Quotas
from app.llm.service import LanguageModels
from app.migrations.runner import Migrations
from app.migrations.starting import Start
from app.privacy.assembly import Privacy, build_privacy
from app.privacy.parts import Parts
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
from app.webhooks.assembly import build_webhooks
from app.webhooks.events import ended
from app.webhooks.service import WebhookService


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    migrations: Migrations
    users: UserService
    access: Access
    audit: AuditRepository
    conversations: ConversationService
    sharing: Sharing
    links: Links
    search: MessageSearch
    turns: TurnService
    imports: ImportJobs
    exports: ExportJobs
    schedules: ExportSchedules
    models: LanguageModels
    limits: Limits
    changes: ChangeFeed
    housekeeping: Housekeeping
    rooms: Rooms
    content_index: TextIndex
    webhooks: WebhookService
    privacy: Privacy
    backlog: Backlog

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
        if self.settings.migrate:
            self.migrations.open()
        self.changes.open()
        self.limits.rates.open()
        self.housekeeping.open()
        self.content_index.open(builds=self.settings.search_builder)
        if self.settings.webhook_delivery:
            self.webhooks.open()
        self.exports.open(self.sources, slice_rows=self.settings.export_slice_rows)
        self.schedules.open()
        self.privacy.upkeep.open()
        self.imports.open()
        self.backlog.open()

    async def aclose(self) -> None:
        """Let running turns finish for a while, then close what is open."""
        jobs = self.exports.jobs, self.imports.jobs
        for each in (self.backlog, self.migrations, self.privacy.upkeep, self.schedules, *jobs):
            await each.aclose()
        await self.turns.runner.aclose(self.settings.drain_timeout)
        for part in (self.limits, self.webhooks, self.rooms, self.sharing.revocations, self.housekeeping):
            await part.aclose()
        await self.content_index.aclose()
        await self.changes.aclose()
        await self.access.aclose()
        await self.models.aclose()


@asynccontextmanager
async def open_services(settings: Settings, *, start: Start) -> AsyncIterator[Services]:
    """Open the database and build every service on it; closing lets running turns finish first.

    `start`: what is done about migrations before; it refuses a database that a newer version has taken over.
    """
    async with open_database(settings) as database:
        await start(Migrations(database), settings)
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
    access = build_access(settings, cursors, transactions, users)
    models = LanguageModels(settings)
    changes = ChangeFeed(database.client[database.name])
    migrations = Migrations(database)
    membership = Membership(WorkerRepository(lease_seconds=settings.turn_lease, level=migrations.level))
    turn_rows = TurnRepository(cursors, turnstile)
    limits = build_limits(settings)
    turns, housekeeping = _build_turns(
        settings, database, turn_rows, transcripts, models, changes, membership, limits.quotas
    )
    rooms = Rooms(conversations, turns.rows, TranscriptRepository(cursors), PresenceRepository(), membership, changes)
    housekeeping.inherit(rooms.tidy)
    exports = _build_exports(settings, database, users, membership, changes)
    housekeeping.inherit(exports.jobs.upkeep.tidy)
    imports = build_imports(settings, cursors, transactions, conversations, messages, membership, changes)
    housekeeping.inherit(imports.jobs.upkeep.tidy)
    links = Links(LinkRepository(cursors), conversations, messages)
    sharing = Sharing(ShareRepository(cursors), transactions, Revocations(changes))
    user_service = UserService(users, transactions, end_sessions=access.sessions.rows.remove_of_user)
    schedules = ExportSchedules(ScheduleRepository(cursors), exports, transactions)
    exported = ended(exports.rows, "export", ("completed", "failed"), EXPORTS.render)
    webhooks = build_webhooks(settings, cursors, transcripts, turns.rows, users, exported)
    return Services(
        settings=settings,
        database=database,
        migrations=migrations,
        users=user_service,
        access=access,
        audit=AuditRepository(cursors),
        conversations=transcripts,
        sharing=sharing,
        links=links,
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
        schedules=schedules,
        models=models,
        limits=limits,
        changes=changes,
        housekeeping=housekeeping,
        rooms=rooms,
        content_index=index,
        webhooks=webhooks,
        backlog=Backlog(turns=turn_rows, exports=exports.rows, imports=imports.rows, deliveries=webhooks.deliveries),
        privacy=build_privacy(
            cursors,
            transactions,
            Parts(
                users=user_service,
                access=access,
                conversations=transcripts,
                sharing=sharing,
                links=links,
                turns=turns,
                imports=imports,
                exports=exports,
                schedules=schedules,
                webhooks=webhooks,
            ),
        ),
    )


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
    quotas: Quotas,
) -> tuple[TurnService, Housekeeping]:
    events = EventRepository()
    finisher = TurnFinisher(rows, events, conversations, database.transactions)
    options = AftermathOptions(settings.helper_model, settings.auto_titles)
    aftermath = Aftermath(rows, conversations, models, quotas, options)

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
        quotas,
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
