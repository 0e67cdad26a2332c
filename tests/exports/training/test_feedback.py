"""Rated answers, one a line."""

from app.exports.training.model import Omission
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
    transcript,
    user,
)


def test_each_rated_answer_is_a_line_also_one_that_was_replaced() -> None:
    old = rated(generated("old", superseded=True), "down")
    given = transcript(user("one"), assistant("1"), user("two"), old, rated(generated("new"), "up"), system_prompt="S")
    lines, omissions = make("trl-feedback", given)

    assert omissions == []
    assert [(line["completion"][0]["content"], line["label"]) for line in lines] == [("old", False), ("new", True)]
    assert [[each["content"] for each in line["prompt"]] for line in lines] == [["S", "one", "1", "two"]] * 2


def test_a_rated_answer_after_tools_has_the_calls_in_its_prompt() -> None:
    line = line_of(
        "trl-feedback", transcript(user(), calls("a"), result("a"), rated(assistant(), "up"), tools=[WEATHER])
    )
    assert [each["role"] for each in line["prompt"]] == ["user", "assistant", "tool"]
    assert line["tools"] == [WEATHER]


def test_what_cannot_be_learned_from_has_a_reason() -> None:
    assert left_out("trl-feedback", transcript()) == Omission("conversation", "empty", None)
    assert left_out("trl-feedback", transcript(user(), assistant())) == Omission("conversation", "unrated", None)
    cut = rated(assistant(finish_reason="length"), "up")
    assert left_out("trl-feedback", transcript(user(), cut)) == Omission("answer", "unfinished_answer", 2)
    replaced = transcript(
        user(status="superseded"), rated(generated("old", superseded=True), "up"), user(), assistant()
    )
    assert left_out("trl-feedback", replaced) == Omission("answer", "replaced_question", 2)
