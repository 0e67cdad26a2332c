"""Which messages of a conversation are sent to a model, and how many tokens they are taken to have."""

import re
from collections.abc import Sequence

from app.llm.provider import ChatMessage

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


def fit_history(
    messages: Sequence[ChatMessage], *, system_prompt: str | None, max_messages: int, max_tokens: int
) -> list[ChatMessage]:
    """The system prompt, then the newest of `messages` (oldest first) that fit both budgets.

    The prompt counts as tokens but not as a message. It and the last user message are kept even over budget (without
    any user message: the newest one). Messages are taken from the newest back to the first that does not fit; when
    that cut leaves answers without their question in front, they are dropped, unless nothing else remains.
    """
    head = [ChatMessage("system", system_prompt)] if system_prompt else []
    tokens_left = max_tokens - sum(estimate_tokens(each.content) for each in head)
    kept = _newest(messages, max_messages, tokens_left)
    return head + (_from_first_question(kept) if len(kept) < len(messages) else kept)


def _newest(messages: Sequence[ChatMessage], max_messages: int, max_tokens: int) -> list[ChatMessage]:
    if not messages:
        return []
    newest_first = range(len(messages) - 1, -1, -1)
    always = next((index for index in newest_first if messages[index].role == "user"), len(messages) - 1)
    messages_left = max_messages - 1
    tokens_left = max_tokens - estimate_tokens(messages[always].content)
    indexes = {always}
    for index in newest_first:
        if index == always:
            continue
        messages_left -= 1
        tokens_left -= estimate_tokens(messages[index].content)
        if messages_left < 0 or tokens_left < 0:
            break
        indexes.add(index)
    return [messages[index] for index in sorted(indexes)]


def _from_first_question(messages: list[ChatMessage]) -> list[ChatMessage]:
    answers = ("assistant", "tool")
    start = next((index for index, each in enumerate(messages) if each.role not in answers), 0)
    return messages[start:]
