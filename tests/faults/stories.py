"""What the upstream tells in fault tests: to each question an answer of its own, which anybody can work out.

No word comes twice, so a lost, doubled or foreign word is seen in the text itself.
"""

import asyncio
import zlib
from collections import Counter

from aiohttp import web

from tests.upstream import USAGE, Behaviour, Exchange, Upstream, chunk, event


def words_of(question: str) -> list[str]:
    """20 to 59 words, always the same for the same question."""
    count = 20 + zlib.crc32(question.encode()) % 40
    return [f"{question} word-{number} 词-{number} 🙂 " for number in range(count)]


def text_of(question: str) -> str:
    """The whole answer."""
    return "".join(words_of(question))


def tell(*, pause: float) -> Behaviour:
    """The answer to the last message, a word each `pause` seconds."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        response = await exchange.begin()
        for word in words_of(_question_in(exchange)):
            await response.write(event(chunk(word)))
            await asyncio.sleep(pause)  # the pace of a model
        await response.write(event(chunk(finish="stop", usage=USAGE)))
        await response.write(event("[DONE]"))
        await response.write_eof()
        return response

    return behave


def asked(upstream: Upstream) -> Counter[str]:
    """How often the upstream was asked each question."""
    return Counter(_question_in(exchange) for exchange in upstream.requests)


def _question_in(exchange: Exchange) -> str:
    return str(exchange.body["messages"][-1]["content"])
