"""Who hears of what: the active webhooks, with what their owners may see at this moment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bson import ObjectId

from app.kit.clock import now
from app.kit.repository import EVERYTHING
from app.users.repository import UserRepository
from app.webhooks.events import Event, body_of, event_id
from app.webhooks.model import Delivery, NoticeType
from app.webhooks.repository import WebhookRepository
from app.webhooks.retries import Times


@dataclass(frozen=True)
class Subscriber:
    """An active webhook, and whether it hears of everybody's rows."""

    id: ObjectId
    owner_id: ObjectId
    events: frozenset[str]
    active_from: int
    hears_all: bool

    def hears(self, event: Event) -> bool:
        return event.position > self.active_from and self.wants(event.type, event.owner_id)

    def wants(self, type: str, owner_id: ObjectId | None) -> bool:
        """Whether it may hear of such an event, of whoever it is when the owner is None."""
        return type in self.events and (self.hears_all or owner_id is None or owner_id == self.owner_id)


class Subscribers:
    """All of them, as they were at one moment."""

    def __init__(self, subscribers: Sequence[Subscriber], times: Times) -> None:
        self._subscribers = subscribers
        self._times = times
        self.types = frozenset(type for each in subscribers for type in each.events)

    def want(self, type: str, owner_id: ObjectId | None) -> bool:
        return any(each.wants(type, owner_id) for each in self._subscribers)

    def deliveries(self, events: Sequence[Event]) -> list[Delivery]:
        """What is to be delivered of these events."""
        return [delivery for event in events for delivery in self._deliveries(event)]

    def notices(self, type: NoticeType, data: dict[str, object]) -> list[Delivery]:
        """The same for each of them."""
        return [notice(type, each.id, each.owner_id, data, self._times) for each in self._subscribers]

    def _deliveries(self, event: Event) -> Iterator[Delivery]:
        listeners = [each for each in self._subscribers if each.hears(event)]
        if not listeners:
            return
        body, times = event.body, self._times.of_new(now())
        for each in listeners:
            yield Delivery(
                webhook_id=each.id,
                owner_id=each.owner_id,
                conversation_id=event.conversation_id,
                event_id=event.id,
                type=event.type,
                body=body,
                **times,
            )


class Subscriptions:
    def __init__(self, webhooks: WebhookRepository, users: UserRepository, times: Times) -> None:
        self._webhooks = webhooks
        self._users = users
        self._times = times

    async def current(self) -> Subscribers:
        """The active webhooks of users who are not locked out."""
        rows = await self._webhooks.listening()
        owners = await self._users.of_ids(EVERYTHING, {row["owner_id"] for row in rows}, fields=("role", "disabled"))
        subscribers = [
            Subscriber(
                row["_id"],
                row["owner_id"],
                frozenset(row["events"]),
                row["active_from"],
                hears_all=row["hears_all"] and owner["role"] == "admin",
            )
            for row in rows
            if (owner := owners.get(row["owner_id"])) is not None and not owner["disabled"]
        ]
        return Subscribers(subscribers, self._times)


def notice(
    type: NoticeType, webhook_id: ObjectId, owner_id: ObjectId, data: dict[str, object], times: Times
) -> Delivery:
    """What a webhook is told about itself."""
    id, instant = ObjectId(), now()
    return Delivery(
        id=id,
        webhook_id=webhook_id,
        owner_id=owner_id,
        event_id=event_id(type, id),
        type=type,
        body=body_of(type, instant, {"webhook_id": webhook_id, **data}),
        **times.of_new(instant),
    )
