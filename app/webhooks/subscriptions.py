"""Who hears of what: the active webhooks, with what their owners may see at this moment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bson import ObjectId

from app.kit.clock import now
from app.kit.repository import EVERYTHING, Row
from app.users.repository import UserRepository
from app.webhooks.events import Event, body_of, event_id
from app.webhooks.model import Delivery, NoticeType
from app.webhooks.repository import WebhookRepository
from app.webhooks.retries import Times


@dataclass(frozen=True)
class _Subscriber:
    """An active webhook, and whether it hears of everybody's rows."""

    id: ObjectId
    owner_id: ObjectId
    events: frozenset[str]
    active_from: int
    hears_all: bool

    def hears(self, event: Event) -> bool:
        is_in_sight = self.hears_all or event.owner_id == self.owner_id
        return is_in_sight and event.type in self.events and event.position > self.active_from


class Subscriptions:
    def __init__(self, webhooks: WebhookRepository, users: UserRepository, times: Times) -> None:
        self._webhooks = webhooks
        self._users = users
        self._times = times

    async def deliveries(self, events: Sequence[Event]) -> list[Delivery]:
        """What is to be delivered of these events."""
        subscribers = await self._subscribers()
        return [
            delivery
            for event in events
            for delivery in self._deliveries(event, [each for each in subscribers if each.hears(event)])
        ]

    async def to_everybody(self, type: NoticeType, data: dict[str, object]) -> list[Delivery]:
        """A notice for each active webhook."""
        return [self.notice(type, each.id, each.owner_id, data) for each in await self._subscribers()]

    def notice(self, type: NoticeType, webhook_id: ObjectId, owner_id: ObjectId, data: dict[str, object]) -> Delivery:
        """What a webhook is told about itself."""
        id, instant = ObjectId(), now()
        return Delivery(
            id=id,
            webhook_id=webhook_id,
            owner_id=owner_id,
            event_id=event_id(type, id),
            type=type,
            body=body_of(type, instant, {"webhook_id": webhook_id, **data}),
            **self._times.of_new(instant),
        )

    def _deliveries(self, event: Event, subscribers: Sequence[_Subscriber]) -> Iterator[Delivery]:
        if not subscribers:
            return
        body, times = event.body, self._times.of_new(now())
        for each in subscribers:
            yield Delivery(
                webhook_id=each.id,
                owner_id=each.owner_id,
                conversation_id=event.conversation_id,
                event_id=event.id,
                type=event.type,
                body=body,
                **times,
            )

    async def _subscribers(self) -> list[_Subscriber]:
        """The active webhooks of users who are not locked out."""
        rows: list[Row] = await self._webhooks.listening()
        owners = await self._users.of_ids(EVERYTHING, {row["owner_id"] for row in rows}, fields=("role", "disabled"))
        return [
            _Subscriber(
                row["_id"],
                row["owner_id"],
                frozenset(row["events"]),
                row["active_from"],
                hears_all=row["hears_all"] and owner["role"] == "admin",
            )
            for row in rows
            if (owner := owners.get(row["owner_id"])) is not None and not owner["disabled"]
        ]
