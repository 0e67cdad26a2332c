"""What a client can ask for over a WebSocket: the same services as REST, under the same permissions."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.api.socket_outbox import Outbox
from app.api.socket_rooms import Subscriptions, subscribed
from app.api.socket_schemas import (
    AnyMessage,
    AskMessage,
    CancelMessage,
    Envelope,
    FollowMessage,
    PingMessage,
    RegenerateMessage,
    RetryMessage,
    SubscribeMessage,
    UnfollowMessage,
    UnsubscribeMessage,
)
from app.api.socket_turns import FollowedTurns
from app.auth.principal import Access, Principal
from app.conversations.resource import CONVERSATIONS
from app.kit.errors import NotFound
from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Scope
from app.rooms.service import Joined
from app.rooms.subscription import Participant
from app.services import Services
from app.turns.beginning import Begun
from app.turns.model import TERMINAL_STATES
from app.turns.resource import TURNS
from app.turns.schemas import Delivery

T = TypeVar("T")


class Requests:
    """The requests of one socket, and what it follows because of them."""

    def __init__(self, services: Services, outbox: Outbox, principal: Principal) -> None:
        self._services = services
        self._outbox = outbox
        self._principal = principal
        self._cancels: set[ObjectId] = set()
        self._turns = FollowedTurns(services.turns.streams, outbox, self._cancels.discard)
        self._rooms = Subscriptions(services.rooms, outbox, self._turns)
        self._name: str | None = None
        self._revoked: set[ObjectId] = set()
        self._stack = ExitStack()
        self._stack.enter_context(services.sharing.revocations.telling(principal.user_id, self._revoke))
        self._handlers: Mapping[type[Any], Callable[[Any], Awaitable[None]]] = {
            SubscribeMessage: self._subscribe,
            UnsubscribeMessage: self._unsubscribe,
            FollowMessage: self._follow,
            UnfollowMessage: self._unfollow,
            AskMessage: self._ask,
            RegenerateMessage: self._regenerate,
            RetryMessage: self._retry,
            CancelMessage: self._cancel,
            PingMessage: self._ping,
        }

    async def handle(self, request: AnyMessage) -> None:
        """Do it and answer; who asks is settled before. Raises Gone, and what REST answers as a problem."""
        await self._handlers[type(request)](request)

    async def aclose(self, *, has_left: bool) -> None:
        """Follow nothing any more. `has_left`: the client is gone, not told to come again."""
        self._stack.close()
        await self._turns.aclose()
        await self._rooms.aclose()
        if has_left:
            for turn_id in self._cancels:
                await self._cancel_left(turn_id)

    def _revoke(self, conversation_id: ObjectId) -> None:
        """Follow no more of what was shared, also when it is just being looked up."""
        self._revoked.add(conversation_id)
        self._rooms.revoke(conversation_id)
        self._turns.revoke(conversation_id)

    async def _cancel_left(self, turn_id: ObjectId) -> None:
        try:
            await self._services.turns.cancel(EVERYTHING, turn_id)
        except (NotFound, PyMongoError) as error:
            logger.warning("turn_not_cancelled", turn_id=str(turn_id), error=type(error).__name__)

    async def _answer(self, request: Envelope, type: str, **members: Any) -> None:
        await self._outbox.answer({"type": type, "id": request.id, **members})

    async def _ping(self, request: PingMessage) -> None:
        await self._answer(request, "pong")

    async def _subscribe(self, request: SubscribeMessage) -> None:
        self._principal.require("conversations:read")

        async def answer(joined: Joined) -> None:
            await self._answer(request, "subscribed", **subscribed(joined))

        who = Participant(self._principal.user_id, await self._own_name())
        scope = self._principal.scope(CONVERSATIONS, "read")
        self._revoked.discard(request.conversation_id)
        await self._rooms.add(scope, request.conversation_id, who, request.after_seq, answer)
        if request.conversation_id in self._revoked:  # meanwhile
            self._revoke(request.conversation_id)

    async def _unsubscribe(self, request: UnsubscribeMessage) -> None:
        await self._rooms.remove(request.conversation_id)
        await self._answer(request, "unsubscribed", conversation_id=request.conversation_id)

    async def _follow(self, request: FollowMessage) -> None:
        self._principal.require("conversations:read")
        self._turns.check_room(request.turn_id)
        self._revoked.clear()
        turn = await self._reach(
            self._principal, request.turn_id, "read", lambda scope: self._services.turns.get(scope, request.turn_id)
        )
        if turn["conversation_id"] in self._revoked:  # meanwhile
            raise NotFound("There is no such turn.")
        await self._answer(request, "following", turn_id=request.turn_id)
        self._turns.follow(request.turn_id, turn["conversation_id"], after=request.after, is_wanted=True)

    async def _unfollow(self, request: UnfollowMessage) -> None:
        await self._turns.unfollow(request.turn_id)
        await self._answer(request, "unfollowed", turn_id=request.turn_id)

    async def _ask(self, request: AskMessage) -> None:
        writer = self._principal.permitted("turns:write")
        begun = await self._services.turns.ask(
            writer.scope(CONVERSATIONS, "write"),
            request.conversation_id,
            request.turn,
            payer=writer.payer,
            key=request.idempotency_key,
        )
        await self._begun(request, "asked", begun, request.turn)

    async def _regenerate(self, request: RegenerateMessage) -> None:
        writer = self._principal.permitted("turns:write")
        begun = await self._services.turns.regenerate(
            writer.scope(CONVERSATIONS, "write"),
            request.conversation_id,
            request.turn,
            payer=writer.payer,
            key=request.idempotency_key,
        )
        await self._begun(request, "regenerated", begun, request.turn)

    async def _retry(self, request: RetryMessage) -> None:
        writer = self._principal.permitted("turns:write")
        begun = await self._reach(
            writer,
            request.turn_id,
            "write",
            lambda scope: self._services.turns.retry(
                scope,
                writer.scope(CONVERSATIONS, "write"),
                request.turn_id,
                when_busy=request.turn.when_busy,
                payer=writer.payer,
                key=request.idempotency_key,
            ),
        )
        await self._begun(request, "retried", begun, request.turn)

    async def _cancel(self, request: CancelMessage) -> None:
        writer = self._principal.permitted("turns:write")
        turn = await self._reach(
            writer, request.turn_id, "write", lambda scope: self._services.turns.cancel(scope, request.turn_id)
        )
        await self._answer(request, "cancelled", turn=turn)

    async def _reach(
        self, who: Principal, turn_id: ObjectId, access: Access, use: Callable[[Scope], Awaitable[T]]
    ) -> T:
        """Do something with a turn of their own, or of a conversation that is shared with them for it."""
        conversations = who.scope(CONVERSATIONS, access)
        return await self._services.sharing.reach(
            self._services.turns.rows, turn_id, who.scope(TURNS), conversations, use
        )

    async def _begun(self, request: Envelope, type: str, begun: Begun, delivery: Delivery) -> None:
        """Answer with the turn; its events come with the subscription, or by themselves where there is none."""
        turn = begun.turn
        if delivery.on_disconnect == "cancel":
            self._cancels.add(turn["id"])
        await self._answer(request, type, turn=turn, is_replay=begun.is_replay)
        is_told = turn["conversation_id"] in self._rooms and not begun.is_replay
        if not is_told and turn["state"] not in TERMINAL_STATES:
            self._turns.follow(turn["id"], turn["conversation_id"])

    async def _own_name(self) -> str:
        if self._name is None:
            row = await self._services.users.rows.get(EVERYTHING, self._principal.user_id, fields=("name",))
            self._name = row["name"]
        return self._name
