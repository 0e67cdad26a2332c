"""What a finished answer may lead to: suggested questions and a title. Small calls of their own, on the account of who
asked; whatever becomes of them, the turn is stored already."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.service import ConversationService
from app.kit.errors import QuotaExceeded
from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Row
from app.limits.quotas import Payer, Quotas
from app.llm.answer import well_formed
from app.llm.provider import ChatMessage, CompletionRequest, ProviderError
from app.llm.service import LanguageModels
from app.turns.answer import Answer
from app.turns.paying import payer_of
from app.turns.repository import TurnRepository

SECONDS = 15.0
MAX_SUGGESTIONS = 5
MAX_SUGGESTION_CHARACTERS = 200
MAX_TITLE_CHARACTERS = 80
_QUOTED_CHARACTERS = 4000
"""Of the question and of the answer each: enough to know what they are about."""

_SUGGESTIONS_PROMPT = (
    "Suggest three short questions that the user may ask next, in the language of the conversation. "
    'Answer with nothing but a JSON array of strings, for example ["...", "...", "..."].'
)
_TITLE_PROMPT = (
    "Give this conversation a title of at most six words, in its own language. "
    "Answer with nothing but the title, without quotation marks."
)


@dataclass(frozen=True)
class AftermathOptions:
    """`model`: which one is asked, the turn's own when None; `titles`: whether untitled conversations get a title."""

    model: str | None
    titles: bool


class Aftermath:
    def __init__(
        self,
        rows: TurnRepository,
        conversations: ConversationService,
        models: LanguageModels,
        quotas: Quotas,
        options: AftermathOptions,
    ) -> None:
        self._rows = rows
        self._conversations = conversations
        self._models = models
        self._quotas = quotas
        self._options = options
        self._titling: set[asyncio.Task[None]] = set()

    async def follow_up(self, turn: Row, text: str) -> Row | None:
        """Do what the completed turn asks for; answers its row when that has changed. Never raises."""
        if self._options.titles:
            task = asyncio.create_task(self._entitle(turn))
            self._titling.add(task)
            task.add_done_callback(self._titling.discard)
        if not turn["wants_suggestions"] or not text:
            return None
        try:
            suggestions = read_suggestions(await self._ask(turn, text, _SUGGESTIONS_PROMPT))
            return await self._rows.set_suggestions(turn["_id"], suggestions)
        except (ProviderError, QuotaExceeded, PyMongoError) as error:
            logger.warning("suggestions_failed", turn_id=str(turn["_id"]), error=getattr(error, "code", ""))
        except Exception:  # noqa: BLE001 the answer is stored: nothing here may take its end from those who follow it
            logger.exception("suggestions_failed", turn_id=str(turn["_id"]))
        return None

    async def aclose(self) -> None:
        """Wait for nothing: a title can be missing."""
        for task in self._titling:
            task.cancel()
        await asyncio.gather(*self._titling, return_exceptions=True)

    async def _entitle(self, turn: Row) -> None:
        id: ObjectId = turn["conversation_id"]
        try:
            row = await self._conversations.rows.find(EVERYTHING, {"_id": id}, fields=("title",))
            if row is None or row["title"]:
                return
            if title := read_title(await self._ask(turn, "", _TITLE_PROMPT)):
                await self._conversations.rows.name(id, title)
        except (ProviderError, QuotaExceeded, PyMongoError) as error:
            logger.warning("title_failed", conversation_id=str(id), error=getattr(error, "code", ""))
        except Exception:  # noqa: BLE001 nobody waits for a title
            logger.exception("title_failed", conversation_id=str(id))

    async def _ask(self, turn: Row, answer: str, prompt: str) -> str:
        question = None
        if turn["user_message_id"] is not None:
            question = await self._conversations.messages.find(EVERYTHING, {"_id": turn["user_message_id"]})
        exchange = [ChatMessage("user", question["content"][:_QUOTED_CHARACTERS])] if question else []
        if answer:
            exchange.append(ChatMessage("assistant", answer[:_QUOTED_CHARACTERS]))
        request = CompletionRequest(
            self._options.model or turn["model"], [*exchange, ChatMessage("user", prompt)], max_tokens=300
        )
        return await self._complete(request, payer_of(turn))

    async def _complete(self, request: CompletionRequest, payer: Payer) -> str:
        """What is asked counts like an answer, though as no turn; raises ProviderError, and QuotaExceeded as soon as
        there is nothing left for it."""
        answer = Answer(self._models, request.model, self._quotas.meter(payer, turns=0), asked=request)
        try:
            await answer.measure()
            return await self._models.complete(request, timeout=SECONDS, hear=answer.hear)
        finally:
            answer.settle()


def read_suggestions(text: str) -> list[str]:
    """The questions in a model's answer: a JSON array, also with words around it; nothing when there is none."""
    try:
        found: Any = json.loads(text[text.index("[") : text.rindex("]") + 1])
    except ValueError:
        return []
    return _short_lines(found, MAX_SUGGESTION_CHARACTERS)[:MAX_SUGGESTIONS] if isinstance(found, list) else []


def read_title(text: str) -> str:
    """The title in a model's answer: its first line without quotation marks, or nothing."""
    lines = _short_lines(text.strip().splitlines()[:1], MAX_TITLE_CHARACTERS)
    return lines[0].strip("\"'“”«»#* ") if lines else ""


def _short_lines(values: Sequence[Any], limit: int) -> list[str]:
    lines = (" ".join(well_formed(value).split())[:limit] for value in values if isinstance(value, str))
    return [line for line in lines if line]
