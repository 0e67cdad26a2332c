"""ShareGPT's lines: two sides that alternate."""

import json

import pytest

from app.exports.training.model import Omission
from app.kit.repository import Row
from tests.exports.training.transcripts import (
    WEATHER,
    assistant,
    calls,
    left_out,
    line_of,
    make,
    rated,
    result,
    said,
    transcript,
    user,
)


def test_a_conversation_is_a_line_of_turns() -> None:
    assert line_of("sharegpt", transcript(user("你好"), assistant("Hello"), system_prompt="Be brief.")) == {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "你好"},
            {"from": "gpt", "value": "Hello"},
        ]
    }


def test_a_call_is_json_and_its_result_an_observation() -> None:
    line = line_of("sharegpt", transcript(user(), calls("a"), result("a", "晴"), assistant("Fine."), tools=[WEATHER]))

    assert line["conversations"][1:3] == [
        {"from": "function_call", "value": '{"name":"weather","arguments":{"city":"上海"}}'},
        {"from": "observation", "value": "晴"},
    ]
    assert json.loads(line["tools"]) == [WEATHER["function"]]


def test_the_results_of_several_calls_are_one_observation_in_the_order_of_the_calls() -> None:
    given = transcript(
        user(), calls("a", "b"), result("b", "rain"), result("a", "sun"), calls("a"), result("a"), assistant()
    )
    turns = line_of("sharegpt", given)["conversations"]

    assert [each["from"] for each in turns] == ["human", *["function_call", "observation"] * 2, "gpt"]
    assert len(json.loads(turns[1]["value"])) == 2
    assert json.loads(turns[2]["value"]) == ["sun", "rain"]
    assert turns[4]["value"] == "sunny"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (said("system", "Be kind."), "late_system"),
        (calls("a", content="Let me see."), "text_beside_call"),
        (user("And?"), "consecutive_questions"),
        (rated(assistant(), "down"), "rating"),
    ],
)
def test_what_the_format_cannot_hold_ends_the_line(message: Row, code: str) -> None:
    lines, omissions = make("sharegpt", transcript(user(), assistant(), user(), message, result("a"), assistant()))

    assert [len(line["conversations"]) for line in lines] == [2]
    assert omissions == [Omission("rest", code, 4)]


def test_a_question_after_a_result_is_one_after_a_question() -> None:
    given = transcript(user(), calls("a"), result("a"), user(), assistant())
    assert left_out("sharegpt", given) == Omission("conversation", "consecutive_questions", 4)


def test_a_prompt_and_a_system_message_are_one_too_many() -> None:
    given = transcript(said("system", "A"), user(), assistant())
    assert len(line_of("sharegpt", given)["conversations"]) == 3
    twice = transcript(said("system", "A"), user(), assistant(), system_prompt="B")
    assert left_out("sharegpt", twice) == Omission("conversation", "late_system", 1)
    assert len(line_of("sharegpt", twice, include_system=False)["conversations"]) == 2
