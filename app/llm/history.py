"""Which messages of a conversation are sent to a model, and how many tokens they are taken to have."""

import re
from collections.abc import Sequence

import orjson

from app.llm.provider import ChatMessage, CompletionRequest, Finish, ToolCall, Usage

# From the CJK radicals up: ideographs, kana, Hangul syllables, full-width forms and emoji take about a token each.
_WIDE = re.compile("[\u2e80-\U0010ffff]+")


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` has: one for each wide (CJK) character, one for every 4 others, rounded up.

    A rule of thumb that needs no tokenizer; common ones differ from it by up to a third. Linear time.
    """
    if text.isascii():
        return (len(text) + 3) // 4
    narrow = len(_WIDE.sub("", text))
    return len(text) - narrow + (narrow + 3) // 4


class TokenCount:
    """`estimate_tokens` of a text that comes in pieces."""

    def __init__(self) -> None:
        self._narrow = 0
        self._wide = 0

    def add(self, text: str) -> None:
        narrow = len(text) if text.isascii() else len(_WIDE.sub("", text))
        self._narrow += narrow
        self._wide += len(text) - narrow

    @property
    def tokens(self) -> int:
        return self._wide + (self._narrow + 3) // 4


def estimate_usage(request: CompletionRequest, text: str, finish: Finish) -> Usage:
    """What an answer has used, as far as that can be told without the model's tokenizer.

    The prompt is all messages and the definitions of the tools; the answer is its text, reasoning and tool calls.
    """
    prompt = sum(map(_message_tokens, request.messages))
    if request.tools:
        prompt += estimate_tokens(orjson.dumps(request.tools).decode())
    completion = estimate_tokens(text) + estimate_tokens(finish.reasoning) + _call_tokens(finish.tool_calls)
    return Usage(prompt, completion, prompt + completion, estimated=True)


def fit_history(
    messages: Sequence[ChatMessage], *, system_prompt: str | None, max_messages: int, max_tokens: int
) -> list[ChatMessage]:
    """The system prompt, then the newest of `messages` (oldest first) that fit both budgets.

    The prompt counts as tokens but not as a message. It and the last user message are kept even over budget (without
    any user message: the newest one). Messages are taken from the newest back to the first that does not fit; when
    that cut leaves answers without their question in front, or a tool's messages without the call they answer, they
    are dropped, unless nothing else remains.
    """
    head = [ChatMessage("system", system_prompt)] if system_prompt else []
    tokens_left = max_tokens - sum(map(_message_tokens, head))
    kept = _newest(messages, max_messages, tokens_left)
    if len(kept) < len(messages):
        kept = _with_their_calls(_from_first_question(kept)) or kept[-1:]
    return head + kept


def _newest(messages: Sequence[ChatMessage], max_messages: int, max_tokens: int) -> list[ChatMessage]:
    if not messages:
        return []
    newest_first = range(len(messages) - 1, -1, -1)
    always = next((index for index in newest_first if messages[index].role == "user"), len(messages) - 1)
    messages_left = max_messages - 1
    tokens_left = max_tokens - _message_tokens(messages[always])
    indexes = {always}
    for index in newest_first:
        if index == always:
            continue
        messages_left -= 1
        tokens_left -= _message_tokens(messages[index])
        if messages_left < 0 or tokens_left < 0:
            break
        indexes.add(index)
    return [messages[index] for index in sorted(indexes)]


def _from_first_question(messages: list[ChatMessage]) -> list[ChatMessage]:
    answers = ("assistant", "tool")
    start = next((index for index, each in enumerate(messages) if each.role not in answers), 0)
    return messages[start:]


def _with_their_calls(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Without the tools' messages whose call was cut off; those that name no call never had one."""
    kept: list[ChatMessage] = []
    calls: frozenset[str] = frozenset()
    for message in messages:
        if message.role != "tool":
            calls = frozenset(call.id for call in message.tool_calls)
        elif message.tool_call_id is not None and message.tool_call_id not in calls:
            continue
        kept.append(message)
    return kept


def _message_tokens(message: ChatMessage) -> int:
    return estimate_tokens(message.content) + _call_tokens(message.tool_calls)


def _call_tokens(calls: Sequence[ToolCall]) -> int:
    return sum(estimate_tokens(call.name) + estimate_tokens(call.arguments) for call in calls)
