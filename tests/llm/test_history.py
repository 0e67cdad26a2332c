"""What of a conversation is sent to a model."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm.history import estimate_tokens, fit_history
from app.llm.provider import ChatMessage, ToolCall

PLENTY = 10**6


def chat(*turns: str) -> list[ChatMessage]:
    """`u` and `a` followed by the content: `"u hello"`."""
    roles = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    return [ChatMessage(roles[turn[0]], turn[2:]) for turn in turns]  # type: ignore[arg-type]


def fit(
    messages: list[ChatMessage],
    *,
    system_prompt: str | None = None,
    max_messages: int = PLENTY,
    max_tokens: int = PLENTY,
) -> list[str]:
    kept = fit_history(messages, system_prompt=system_prompt, max_messages=max_messages, max_tokens=max_tokens)
    return [f"{message.role[0]} {message.content}" for message in kept]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("你好", 2),
        ("你好 ab", 3),
        ("こんにちは", 5),
        ("안녕", 2),
        ("é" * 8, 2),
    ],
)
def test_token_estimate(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_everything_fits() -> None:
    assert fit(chat("u 1", "a 2", "u 3"), system_prompt="be brief") == ["s be brief", "u 1", "a 2", "u 3"]
    assert fit(chat("a greeting", "u 1")) == ["a greeting", "u 1"]
    assert fit([]) == []
    assert fit([], system_prompt="be brief") == ["s be brief"]
    assert fit([], system_prompt="") == []


def test_message_budget_keeps_the_newest_and_begins_with_a_question() -> None:
    messages = chat("u 1", "a 2", "u 3", "a 4", "u 5")
    assert fit(messages, max_messages=5) == ["u 1", "a 2", "u 3", "a 4", "u 5"]
    assert fit(messages, max_messages=4) == ["u 3", "a 4", "u 5"]
    assert fit(messages, max_messages=3) == ["u 3", "a 4", "u 5"]
    assert fit(messages, max_messages=1) == ["u 5"]
    assert fit(messages, max_messages=1, system_prompt="x") == ["s x", "u 5"]


def test_token_budget_stops_at_the_first_message_that_does_not_fit() -> None:
    messages = chat("u aaaa", "a " + "b" * 400, "u cccc", "a dddd", "u eeee")
    assert fit(messages, max_tokens=50) == ["u cccc", "a dddd", "u eeee"]
    assert fit(messages, max_tokens=103) == ["u cccc", "a dddd", "u eeee"]
    assert fit(messages, max_tokens=104) == [f"{m.role[0]} {m.content}" for m in messages]


def test_system_prompt_counts_as_tokens_and_is_kept_over_budget() -> None:
    messages = chat("u 1111", "a 2222", "u 3333")
    assert fit(messages, max_tokens=4, system_prompt="ssss") == ["s ssss", "u 1111", "a 2222", "u 3333"]
    assert fit(messages, max_tokens=3, system_prompt="ssss") == ["s ssss", "u 3333"]
    assert fit(messages, max_tokens=1, system_prompt="s" * 99) == ["s " + "s" * 99, "u 3333"]


def test_the_last_question_is_kept_over_budget() -> None:
    assert fit(chat("u 1", "a 2", "u " + "x" * 99), max_tokens=1) == ["u " + "x" * 99]
    assert fit(chat("u 1", "a 2", "u 3", "a " + "x" * 99), max_tokens=5) == ["u 3"]
    assert fit(chat("u 1", "t " + "x" * 99, "a 3"), max_tokens=5) == ["u 1", "a 3"]


def test_without_any_question_the_newest_remain() -> None:
    assert fit(chat("a 1", "a 2", "a 3"), max_messages=2) == ["a 2", "a 3"]
    assert fit(chat("a 1", "a " + "x" * 99), max_tokens=1) == ["a " + "x" * 99]


def call(*ids: str) -> ChatMessage:
    return ChatMessage("assistant", "", tuple(ToolCall(id, "f", "x" * 36) for id in ids))


def result(id: str) -> ChatMessage:
    return ChatMessage("tool", f"of {id}", tool_call_id=id)


def test_a_result_is_not_kept_without_its_call() -> None:
    # A call counts 10 tokens, everything else 1 or 2.
    messages = [*chat("u 1"), call("a", "b"), result("a"), result("b"), *chat("a 3")]
    assert fit(messages, max_tokens=30) == ["u 1", "a ", "t of a", "t of b", "a 3"]
    assert fit(messages, max_tokens=15) == ["u 1", "a 3"]
    assert fit(messages, max_messages=3) == ["u 1", "a 3"]
    later = [*messages, *chat("u 4"), call("c"), result("c"), *chat("a 5")]
    assert fit(later, max_messages=4) == ["u 4", "a ", "t of c", "a 5"]
    assert fit(later, max_messages=3) == ["u 4", "a 5"]


def test_a_result_that_names_no_call_is_kept_as_far_as_it_fits() -> None:
    assert fit(chat("u 1", "a 2", "t 3", "a 4"), max_messages=3) == ["u 1", "t 3", "a 4"]


def test_a_result_is_kept_when_nothing_else_remains() -> None:
    assert fit([call("a"), result("a")], max_messages=1) == ["t of a"]


@given(
    st.lists(st.tuples(st.sampled_from("uats"), st.text("a你", max_size=9)), max_size=12),
    st.integers(1, 12),
    st.integers(0, 40),
)
def test_budgets_hold_and_order_is_kept(turns: list[tuple[str, str]], max_messages: int, max_tokens: int) -> None:
    messages = chat(*(f"{role} {index}-{text}" for index, (role, text) in enumerate(turns)))
    kept = fit_history(messages, system_prompt=None, max_messages=max_messages, max_tokens=max_tokens)
    assert kept == [each for each in messages if each in kept]
    assert len(kept) <= max_messages
    questions = [each for each in messages if each.role == "user"]
    assert not questions or questions[-1] in kept
    spent = sum(estimate_tokens(each.content) for each in kept)
    assert spent <= max_tokens or len(kept) == 1
    if questions and len(kept) < len(messages):
        assert kept[0].role in ("user", "system")


def test_linear_time() -> None:
    def seconds(count: int) -> float:
        messages = [ChatMessage("assistant", "hello 你好")] * count
        started = time.process_time()
        fit_history(messages, system_prompt=None, max_messages=count, max_tokens=PLENTY)
        return time.process_time() - started

    assert seconds(32_000) < 80 * max(seconds(2_000), 0.001)
