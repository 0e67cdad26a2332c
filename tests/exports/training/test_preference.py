"""Preference pairs: which answers are compared, and which of them is the better one."""

from typing import Any

import pytest
from bson import ObjectId

from app.exports.training.model import Omission, Transcript
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
    transcript,
    user,
)

OLD, NEW = generated("old", superseded=True), generated("new")


def pairs(given: Transcript, **options: Any) -> list[tuple[str, str]]:
    """(better, worse) of each line."""
    lines, _ = make("openai-preference", given, **options)
    return [(line["preferred_output"][0]["content"], line["non_preferred_output"][0]["content"]) for line in lines]


def test_a_pair_is_what_came_before_and_both_answers() -> None:
    given = transcript(
        user("one"),
        assistant("1"),
        user("two"),
        rated(OLD, "down"),
        NEW,
        user("three"),
        assistant("3"),
        system_prompt="S",
    )

    assert line_of("openai-preference", given) == {
        "input": {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "1"},
                {"role": "user", "content": "two"},
            ]
        },
        "preferred_output": [{"role": "assistant", "content": "new"}],
        "non_preferred_output": [{"role": "assistant", "content": "old"}],
    }
    trl = line_of("trl-preference", given, include_system=False)
    assert [each["content"] for each in trl["prompt"]] == ["one", "1", "two"]
    assert (trl["chosen"], trl["rejected"]) == ([_assistant("new")], [_assistant("old")])


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("up", "down", ("old", "new")),
        ("up", None, ("old", "new")),
        (None, "down", ("old", "new")),
        ("down", "up", ("new", "old")),
        ("down", None, ("new", "old")),
        (None, "up", ("new", "old")),
        (None, None, None),
        ("up", "up", None),
        ("down", "down", None),
    ],
)
def test_ratings_decide_and_else_only_an_assumption(old: str | None, new: str | None, expected: Any) -> None:
    given = transcript(user(), rated(OLD, old) if old else OLD, rated(NEW, new) if new else NEW)

    assert pairs(given, assume_latest_preferred=True) == [expected or ("new", "old")]
    assert pairs(given) == ([expected] if expected else [])
    if not expected:
        assert left_out("openai-preference", given) == Omission("answer", "no_preference", 2)


def test_the_best_answer_makes_a_pair_with_each_worse_one() -> None:
    answers = [rated(generated("a", superseded=True), "down"), generated("b", superseded=True), rated(NEW, "up")]
    assert pairs(transcript(user(), *answers)) == [("new", "a"), ("new", "b")]


def test_an_answer_that_was_replaced_too_is_not_assumed_to_be_the_better_one() -> None:
    """All answers of the question were superseded when the last one failed."""
    failed = assistant("", status="failed", turn_id=ObjectId())
    given = transcript(user(), generated("a", superseded=True), generated("b", superseded=True), failed)
    lines, omissions = make("openai-preference", given, assume_latest_preferred=True)
    assert lines == []
    assert omissions == [Omission("answer", "unfinished_answer", 4), Omission("answer", "no_preference", 2)]


@pytest.mark.parametrize(
    ("old", "code"),
    [
        ({**OLD, "finish_reason": None}, "unfinished_answer"),
        ({**OLD, "finish_reason": "length"}, "unfinished_answer"),
        ({**OLD, "error": {"code": "x", "message": "y"}}, "unfinished_answer"),
        ({**OLD, "content": ""}, "empty_content"),
        ({**OLD, "content": "new"}, "identical_answers"),
        (calls("a", arguments="", finish_reason="tool_calls", status="superseded", turn_id=ObjectId()), "broken_call"),
        ({**OLD, "content": "x" * 400}, "too_long"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_left_out(old: Row, code: str) -> None:
    given = transcript(user(), old, NEW)
    expected = Omission("answer", code, 2)
    assert left_out("openai-preference", given, assume_latest_preferred=True, max_tokens=100) == expected


@pytest.mark.parametrize("format", ["openai-preference", "trl-preference"])
def test_answers_after_tools_have_the_calls_in_their_prompt(format: str) -> None:
    given = transcript(user(), calls("a"), result("a"), rated(OLD, "down"), NEW, tools=[WEATHER])
    line = line_of(format, given)
    prompt = line["input"]["messages"] if format == "openai-preference" else line["prompt"]

    assert [each["role"] for each in prompt] == ["user", "assistant", "tool"]
    assert (line["input"] if format == "openai-preference" else line)["tools"] == [WEATHER]
    if format == "trl-preference":
        assert prompt[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "上海"}}
        assert prompt[2] == {"role": "tool", "name": "weather", "content": "sunny"}


@pytest.mark.parametrize("format", ["openai-preference", "trl-preference"])
def test_to_call_or_not_to_call_can_be_compared(format: str) -> None:
    called = rated(calls("a", turn_id=ObjectId(), finish_reason="tool_calls"), "up")
    line = line_of(format, transcript(user(), OLD, called, result("a"), assistant()))
    better = line["preferred_output" if format == "openai-preference" else "chosen"]
    assert better[0]["tool_calls"][0]["function"]["name"] == "weather"


def test_an_edited_question_is_another_question() -> None:
    asked, again = user("one", status="superseded"), user("one, better")
    given = transcript(asked, rated(OLD, "down"), again, NEW)
    assert left_out("openai-preference", given) == Omission("conversation", "one_answer", None)
    twice = transcript(asked, rated(OLD, "down"), {**NEW, "status": "superseded"}, again, NEW)
    assert left_out("openai-preference", twice) == Omission("answer", "replaced_question", 1)


def test_what_was_written_by_hand_behind_an_answer_is_no_other_answer() -> None:
    given = transcript(user(), generated("a", superseded=True), assistant("and b", status="superseded"), NEW)
    assert pairs(given, assume_latest_preferred=True) == [("new", "a")]


def test_copies_in_a_fork_make_no_pair_again() -> None:
    copies = [{**each, "turn_id": None, "provider": "local"} for each in (OLD, NEW)]
    given = transcript(user(), *copies, parent={"conversation_id": ObjectId(), "seq": 3})
    assert left_out("openai-preference", given, assume_latest_preferred=True) == Omission("answer", "copied", 2)
    superseded = [{**each, "status": "superseded"} for each in copies]
    third = transcript(user(), *superseded, generated("third"), parent={"conversation_id": ObjectId(), "seq": 3})
    assert pairs(third, assume_latest_preferred=True) == [("third", "old"), ("third", "new")]


@pytest.mark.parametrize(
    ("before", "code"),
    [
        ([user(), assistant("half", status="failed")], "unfinished_answer"),
        ([user(), calls("a")], "unanswered_call"),
        ([user("")], "empty_content"),
    ],
)
def test_a_pair_needs_a_prompt_that_meets_the_rules(before: list[Row], code: str) -> None:
    given = transcript(*before, user("two"), rated(OLD, "down"), NEW)
    assert left_out("openai-preference", given) == Omission("answer", code, len(before) + 1)


def test_ratings_of_earlier_answers_do_not_matter() -> None:
    given = transcript(user(), rated(assistant(), "down"), user(), rated(OLD, "down"), NEW)
    assert pairs(given) == [("new", "old")]


def test_a_conversation_without_other_answers_gives_no_pair() -> None:
    assert left_out("trl-preference", transcript()) == Omission("conversation", "empty", None)
    given = transcript(user(), rated(assistant(), "up"))
    assert left_out("trl-preference", given) == Omission("conversation", "one_answer", None)
