"""OpenAI's chat lines: word for word what the transcript says, up to the first message that breaks a rule."""

from typing import Any

import pytest

from app.exports.training.model import Omission
from app.kit.repository import Row
from tests.exports.training.transcripts import (
    WEATHER,
    assistant,
    calls,
    generated,
    left_out,
    line_of,
    make,
    rated,
    result,
    said,
    transcript,
    user,
)


def roles(line: dict[str, Any]) -> list[str]:
    return [each["role"] for each in line["messages"]]


def test_a_conversation_is_a_line_with_its_system_prompt_first() -> None:
    given = transcript(user("知道恋恋笔记本吗？"), assistant("知道。\n"), system_prompt="你是影迷。")

    assert line_of("openai-chat", given) == {
        "messages": [
            {"role": "system", "content": "你是影迷。"},
            {"role": "user", "content": "知道恋恋笔记本吗？"},
            {"role": "assistant", "content": "知道。\n"},
        ]
    }
    assert roles(line_of("openai-chat", given, include_system=False)) == ["user", "assistant"]


def test_system_messages_within_the_transcript_stay_where_they_are_or_go() -> None:
    given = transcript(
        said("system", "Be brief."), user(), assistant(), said("system", "Be kind."), user(), assistant()
    )

    line = line_of("openai-chat", given)
    assert roles(line) == ["system", "user", "assistant", "system", "user", "assistant"]
    assert roles(line_of("openai-chat", given, include_system=False)) == ["user", "assistant"] * 2


def test_tool_calls_and_results_come_whole_and_in_order_with_their_definitions() -> None:
    given = transcript(
        user("Weather?"),
        calls("a", "b", content="Let me see. "),
        result("b", "rain"),
        result("a", "晴"),
        assistant("Mixed."),
        tools=[WEATHER],
    )

    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city":"上海"}'}}
    assert line_of("openai-chat", given) == {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "Let me see. ", "tool_calls": [{"id": "a", **call}, {"id": "b", **call}]},
            {"role": "tool", "content": "rain", "tool_call_id": "b"},
            {"role": "tool", "content": "晴", "tool_call_id": "a"},
            {"role": "assistant", "content": "Mixed."},
        ],
        "tools": [WEATHER],
    }


def test_a_call_without_words_has_no_content() -> None:
    line = line_of("openai-chat", transcript(user(), calls("a"), result("a"), assistant()))
    assert "content" not in line["messages"][1]


def test_the_newest_definition_of_a_tool_counts_and_later_ones_do_not() -> None:
    newer = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    later = {"type": "function", "function": {"name": "later"}}
    given = transcript(user(), assistant(), user(), assistant(), tools=[WEATHER, {"type": "web_search"}])
    offered = [*given.tools, {"tools": f"[{_json(newer)}]", "first": 4}, {"tools": f"[{_json(later)}]", "first": 6}]

    line = line_of("openai-chat", type(given)(given.conversation, given.messages, offered))
    assert line["tools"] == [newer]


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def test_superseded_messages_are_no_part_of_the_line() -> None:
    given = transcript(user("one"), generated("old", superseded=True), generated("new"))
    assert [each["content"] for each in line_of("openai-chat", given)["messages"]] == ["one", "new"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (assistant("half", status="failed", error={"code": "x", "message": "y"}), "unfinished_answer"),
        (assistant("half", status="interrupted"), "unfinished_answer"),
        (assistant("half", status="cancelled"), "unfinished_answer"),
        (assistant("", status="streaming"), "unfinished_answer"),
        (assistant("half", finish_reason="length"), "unfinished_answer"),
        (assistant("half", finish_reason="content_filter"), "unfinished_answer"),
        (assistant(" \n"), "empty_content"),
        (calls("a", arguments="{"), "broken_call"),
        (calls("a", arguments="[]"), "broken_call"),
        (calls("a", name="no good"), "broken_call"),
        (calls("a", "a"), "broken_call"),
        (assistant("", kind="function_call"), "unknown_kind"),
        (result("a"), "unasked_result"),
    ],
)
def test_a_line_ends_before_the_first_message_that_breaks_a_rule(message: Row, code: str) -> None:
    lines, omissions = make("openai-chat", transcript(user(), assistant(), user("two"), message, user(), assistant()))

    assert [roles(line) for line in lines] == [["user", "assistant"]]
    assert omissions == [Omission("rest", code, 4)]
    assert left_out("openai-chat", transcript(user("two"), message)) == Omission("conversation", code, 2)


@pytest.mark.parametrize(
    ("messages", "code", "seq"),
    [
        ([], "empty", None),
        ([said("system", "only")], "no_answer", 1),
        ([user()], "no_answer", 1),
        ([user(""), assistant()], "empty_content", 1),
        ([assistant(), user()], "no_question", 1),
        ([user(), calls("a")], "unanswered_call", 2),
        ([user(), calls("a"), user(), assistant()], "unanswered_call", 3),
        ([user(), calls("a", "b"), result("a"), assistant()], "unanswered_call", 4),
        ([user(), calls("a"), result("a")], "no_answer", 3),
    ],
)
def test_a_conversation_without_an_answered_question_is_left_out(messages: list[Row], code: str, seq: int) -> None:
    assert left_out("openai-chat", transcript(*messages)) == Omission("conversation", code, seq)


def test_two_answers_in_a_row_end_a_line() -> None:
    lines, omissions = make("openai-chat", transcript(user(), assistant(), assistant("And another thing.")))
    assert len(lines) == 1
    assert omissions == [Omission("rest", "consecutive_answers", 3)]


def test_an_answer_rated_down_is_kept_but_not_learned_from() -> None:
    line = line_of("openai-chat", transcript(user(), rated(assistant(), "down"), user(), assistant()))
    assert [each.get("weight") for each in line["messages"]] == [None, 0, None, None]


@pytest.mark.parametrize(
    ("min_rating", "weights", "rest"),
    [
        ("down", [None] * 6, []),
        ("unrated", [None] * 4, [Omission("rest", "rating", 6)]),
        ("up", [None, 0, None, None], [Omission("rest", "rating", 6)]),
    ],
)
def test_the_lowest_rating_can_be_chosen(min_rating: str, weights: list[Any], rest: list[Omission]) -> None:
    messages = [user(), assistant(), user(), rated(assistant(), "up"), user(), rated(assistant(), "down")]
    lines, omissions = make("openai-chat", transcript(*messages), min_rating=min_rating)
    assert [each.get("weight") for each in lines[0]["messages"]] == weights
    assert omissions == rest


def test_a_call_has_the_rating_of_the_answer_it_led_to() -> None:
    given = transcript(user(), calls("a"), result("a"), rated(assistant(), "up"), user(), assistant())
    lines, _ = make("openai-chat", given, min_rating="up")
    assert [each.get("weight") for each in lines[0]["messages"]] == [None] * 4


def test_a_line_holds_no_more_tokens_than_it_may() -> None:
    given = transcript(user("a" * 40), assistant("b" * 40), user("c" * 40), assistant("d" * 40))
    assert len(line_of("openai-chat", given, max_tokens=56)["messages"]) == 4
    lines, omissions = make("openai-chat", given, max_tokens=55)
    assert [len(line["messages"]) for line in lines] == [2]
    assert omissions == [Omission("rest", "too_long", 4)]


def test_a_message_of_a_mebibyte_is_a_line_where_it_fits() -> None:
    big = "恋" * (1 << 18)
    given = transcript(user("Copy this."), assistant(big))
    assert left_out("openai-chat", given) == Omission("conversation", "too_long", 2)
    assert line_of("openai-chat", given, max_tokens=1_000_000)["messages"][1]["content"] == big


def test_what_was_not_read_is_said_to_be_too_long() -> None:
    lines, omissions = make("openai-chat", transcript(user(), assistant(), is_whole=False))
    assert len(lines) == 1
    assert omissions == [Omission("rest", "too_long", None)]


def test_more_tools_than_a_line_may_define_leave_it_out() -> None:
    many = [{"type": "function", "function": {"name": f"tool_{number}"}} for number in range(129)]
    given = transcript(user(), assistant(), tools=many)
    assert left_out("openai-chat", given) == Omission("conversation", "too_many_tools", None)
    assert len(line_of("openai-chat", transcript(user(), assistant(), tools=many[1:]))["tools"]) == 128
