"""Putting the parts of webhooks together."""

from datetime import timedelta

from app.config import Settings
from app.conversations.service import ConversationService
from app.kit.addresses import AddressGuard
from app.kit.paging import Cursors
from app.turns.repository import TurnRepository
from app.users.repository import UserRepository
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.events import EventReader, Source, sources
from app.webhooks.inbound import InboundHooks
from app.webhooks.relay import Relay
from app.webhooks.repository import DeliveryRepository, HookRepository, RelayRepository, WebhookRepository
from app.webhooks.retries import Times
from app.webhooks.sender import Sender
from app.webhooks.service import WebhookService
from app.webhooks.subscriptions import Subscriptions


def build_webhooks(
    settings: Settings,
    cursors: Cursors,
    conversations: ConversationService,
    turns: TurnRepository,
    users: UserRepository,
    *others: Source,
) -> WebhookService:
    """`others`: what is told besides conversations, messages and turns."""
    rows, deliveries = WebhookRepository(cursors), DeliveryRepository(cursors)
    state = RelayRepository(lease_seconds=settings.turn_lease)
    times, guard = Times(kept=timedelta(days=settings.webhook_log_days)), AddressGuard(settings.webhook_allow)
    sender = Sender(guard, timeout=settings.webhook_timeout)
    dispatcher = Dispatcher(rows, deliveries, sender, times, lease_seconds=2 * settings.webhook_timeout + 1)
    told = (*sources(conversations.rows, conversations.messages, turns), *others)
    relay = Relay(
        state,
        deliveries,
        Subscriptions(rows, users, times),
        lambda types: EventReader(told, types),
        dispatcher.wake,
    )
    inbound = InboundHooks(HookRepository(cursors), conversations, users)
    return WebhookService(rows, deliveries, state, relay, dispatcher, inbound, guard, times)
