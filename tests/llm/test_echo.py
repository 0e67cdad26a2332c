"""The echo model repeats the last question, character for character."""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm.echo import Echo
from app.llm.provider import ChatMessage, CompletionRequest, Finish, TextDelta, Usage
from tests.llm.conftest import ask, collect, complete


def test_any_text_comes_back_exactly() -> None:
    @given(
        st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n\t\u3000你好a")), max_size=200)
    )
    def check(text: str) -> None:
        echoed, finish = asyncio.run(complete(Echo(), ask("echo", text)))
        assert (echoed, finish.reason) == (text, "stop")

    check()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Word for word, exactly.", ["Word ", "for ", "word, ", "exactly."]),
        ("  two  spaces\n", ["  ", "two  ", "spaces\n"]),
        ("今天天气很好。", ["今天", "天气", "很好", "。"]),
        ("Hi你好 there", ["Hi", "你好 ", "there"]),
        ("x" * 130, ["x" * 64, "x" * 64, "xx"]),
    ],
)
async def test_streams_in_small_pieces(text: str, pieces: list[str]) -> None:
    *deltas, _ = await collect(Echo(), ask("echo", text))
    assert deltas == [TextDelta(piece) for piece in pieces]


async def test_answers_the_last_user_message_and_counts() -> None:
    messages = [ChatMessage("user", "first"), ChatMessage("assistant", "你好"), ChatMessage("user", "second")]
    text, finish = await complete(Echo(), CompletionRequest("echo", [*messages, ChatMessage("assistant", "x")]))
    assert text == "second"
    assert finish == Finish("stop", Usage(prompt_tokens=2 + 2 + 2 + 1, completion_tokens=2, total_tokens=9))


@pytest.mark.parametrize("messages", [[], [ChatMessage("user", "")], [ChatMessage("system", "be brief")]])
async def test_nothing_to_repeat_still_ends(messages: list[ChatMessage]) -> None:
    chunks = await collect(Echo(), CompletionRequest("echo", messages))
    assert [type(chunk) for chunk in chunks] == [Finish]


async def test_a_long_answer_lets_others_run() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    async with aclosing(Echo().stream(ask("echo", "word " * 500))) as chunks:
        received = [chunk async for chunk in chunks]
    counter.cancel()
    assert len(received) == 501
    assert turns >= 500
