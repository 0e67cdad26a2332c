"""What is asked of the model in a turn: the conversation's history within its budget, and the turn's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from bson import ObjectId

from app.conversations.service import ConversationService
from app.kit.repository import EVERYTHING, Row
from app.llm.history import fit_history
from app.llm.provider import ChatMessage, CompletionRequest, ToolCall

PROMPT = ("system_prompt",)


@dataclass(frozen=True)
class HistoryBudget:
    """How much of a conversation is sent to a model: its newest messages, and their estimated tokens."""

    max_messages: int
    max_tokens: int


@dataclass(frozen=True)
class Known:
    """What whoever has just stored the turn knows of its conversation: `newest` are the messages before the answer."""

    system_prompt: str | None
    newest: Sequence[Row] = ()


class RequestBuilder:
    def __init__(self, conversations: ConversationService, budget: HistoryBudget) -> None:
        self._conversations = conversations
        self._budget = budget

    async def build(self, turn: Row, known: Known | None = None) -> CompletionRequest:
        """The request of a stored turn, from what is stored by now. Raises NotFound when the conversation is gone."""
        if known is None:
            conversation = await self._conversations.rows.get(EVERYTHING, turn["conversation_id"], fields=PROMPT)
            known = Known(conversation["system_prompt"])
        before_seq = known.newest[0]["seq"] if known.newest else turn["answer_seq"]
        history = await self._history(turn["conversation_id"], before_seq)
        messages = fit_history(
            [*history, *map(_message, known.newest)],
            system_prompt=known.system_prompt,
            max_messages=self._budget.max_messages,
            max_tokens=self._budget.max_tokens,
        )
        return CompletionRequest(
            turn["model"],
            messages,
            **turn["sampling"],
            tools=_parsed(turn["tools"]),
            tool_choice=_parsed(turn["tool_choice"]),
        )

    async def _history(self, conversation_id: ObjectId, before_seq: int) -> Sequence[ChatMessage]:
        """The exchange before a number, oldest first, a little more of it than fits the budget."""
        newest_first: list[ChatMessage] = []
        characters = 0
        async for row in self._conversations.messages.history(conversation_id, before_seq=before_seq):
            if not row["content"] and not row.get("tool_calls"):
                continue  # an answer that was interrupted before its first word; some upstreams refuse those
            newest_first.append(_message(row))
            characters += len(row["content"])
            # A token is at most about four characters, so what lies behind this cannot fit the budget.
            if len(newest_first) > self._budget.max_messages or characters > 4 * self._budget.max_tokens:
                break
        return newest_first[::-1]


def _message(row: Row) -> ChatMessage:
    calls = [
        ToolCall(each["id"], each["function"]["name"], each["function"]["arguments"])
        for each in row.get("tool_calls") or ()
    ]
    return ChatMessage(row["role"], row["content"], calls, row.get("tool_call_id"))


def _parsed(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
