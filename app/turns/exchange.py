"""What a turn does to its conversation before the model answers, worked out from what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from app.conversations.service import ConversationService
from app.kit.errors import Conflict, Invalid
from app.kit.repository import EVERYTHING, Row
from app.turns.model import RETRYABLE_STATES, Span
from app.turns.schemas import TurnCreate

MAX_SUPERSEDED = 5000
"""Messages that a question may take out of the exchange, which holds it up for as long: half a second."""


@dataclass(frozen=True)
class Exchange:
    """The messages that come before the answer, in order; from which number on older ones are superseded; the question
    that is answered; and what must still hold of the conversation when it is done."""

    new: Sequence[Mapping[str, Any]] = ()
    user_message_id: ObjectId | None = None
    earlier_question: Row | None = None
    supersede_from: int | None = None
    condition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def superseded(self) -> Span | None:
        """What goes out of the exchange; nothing is behind it, or the condition does not hold."""
        if self.supersede_from is None or self.supersede_from > self.condition["last_seq"]:
            return None
        return Span(from_seq=self.supersede_from, to_seq=self.condition["last_seq"])


class Exchanges:
    def __init__(self, conversations: ConversationService, *, max_message_bytes: int) -> None:
        self._conversations = conversations
        self._max_message_bytes = max_message_bytes

    async def of_question(self, conversation: Row, new: TurnCreate) -> Exchange:
        """A question at the end or in another one's place, or what tools have answered. Raises Invalid, Conflict."""
        if (new.content is None) == (new.tool_outputs is None):
            raise Invalid.field("body.content", "give either this or tool_outputs")
        if new.tool_outputs is not None:
            return await self._of_tools(conversation, new)
        content = new.content or ""
        self._check_size(content, "body.content")
        id = ObjectId()
        question = {"id": id, "role": "user", "content": content, "metadata": new.metadata}
        if new.replaces is None:
            return Exchange([question], id)
        replaced = await self._conversations.messages.find(
            EVERYTHING, {"_id": new.replaces, "conversation_id": conversation["_id"]}
        )
        if replaced is None or replaced["role"] != "user" or replaced["status"] == "superseded":
            raise Invalid.field("body.replaces", "is no user's message of this conversation's present exchange")
        self._check_distance(conversation, replaced["seq"])
        return Exchange([question], id, supersede_from=replaced["seq"], condition=_unchanged(conversation))

    async def of_last_question(self, conversation: Row) -> Exchange:
        """Another answer to the last question, or its first one. Raises Conflict."""
        end = conversation["last_seq"] + 1
        question = await self._conversations.messages.last(conversation["_id"], ("user", "tool"), before_seq=end)
        if question is None:
            raise Conflict("There is no question to answer in this conversation.", reason="no_question")
        self._check_distance(conversation, question["seq"])
        is_users = question["role"] == "user"
        return Exchange(
            user_message_id=question["_id"] if is_users else None,
            earlier_question=question if is_users else None,
            supersede_from=question["seq"] + 1,
            condition=_unchanged(conversation),
        )

    async def of_retry(self, conversation: Row, turn: Row) -> Exchange:
        """Another answer in the place of a turn's that came to no good end. Raises Conflict."""
        if turn["state"] not in RETRYABLE_STATES:
            raise Conflict(
                f"This turn is {turn['state']}; only {', '.join(RETRYABLE_STATES)} ones can be run again.",
                reason="not_retryable",
            )
        exchange = await self.of_last_question(conversation)
        is_last = (
            exchange.user_message_id == turn["user_message_id"]
            and (exchange.supersede_from or 0) <= turn["answer_seq"]
            and await self._is_present(turn)
        )
        if not is_last:
            raise Conflict("The conversation has gone on since this turn; ask again, or fork it.", reason="gone_on")
        return exchange

    async def _is_present(self, turn: Row) -> bool:
        answer = await self._conversations.messages.find(EVERYTHING, {"_id": turn["assistant_message_id"]})
        return answer is not None and answer["status"] != "superseded"

    async def _of_tools(self, conversation: Row, new: TurnCreate) -> Exchange:
        if new.replaces is not None:
            raise Invalid.field("body.replaces", "goes with content, not with tool_outputs")
        outputs = {each.tool_call_id: each.content for each in new.tool_outputs or ()}
        for index, content in enumerate(outputs.values()):
            self._check_size(content, f"body.tool_outputs.{index}.content")
        end = conversation["last_seq"] + 1
        last = await self._conversations.messages.last(
            conversation["_id"], ("user", "assistant", "tool"), before_seq=end
        )
        asked = [each["id"] for each in (last or {}).get("tool_calls") or ()]
        if sorted(asked) != sorted(each.tool_call_id for each in new.tool_outputs or ()):
            wanted = f"answers each of {', '.join(asked)} once" if asked else "is for a message that calls tools"
            raise Invalid.field("body.tool_outputs", wanted)
        results = [{"role": "tool", "tool_call_id": id, "content": outputs[id]} for id in asked]
        return Exchange(results, condition=_unchanged(conversation))

    def _check_size(self, content: str, place: str) -> None:
        size = len(content.encode())
        if size > self._max_message_bytes:
            raise Invalid.field(place, f"has {size} bytes, {self._max_message_bytes} is the most")

    def _check_distance(self, conversation: Row, seq: int) -> None:
        if conversation["last_seq"] - seq > MAX_SUPERSEDED:
            raise Conflict(
                f"More than {MAX_SUPERSEDED} messages follow; fork the conversation instead.", reason="too_far_back"
            )


def _unchanged(conversation: Row) -> dict[str, Any]:
    """That nothing was appended since the conversation was read."""
    return {"last_seq": conversation["last_seq"]}
