"""Whatever a transcript looks like: each line meets its format's rules, and nothing is left out without a word."""

from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from app.kit.repository import Row
from tests.exports.training.rules import CHECKS
from tests.exports.training.transcripts import WEATHER, make, said, transcript

CALL = st.builds(
    lambda id, name, arguments: {
        "id": id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    st.sampled_from("ab"),
    st.sampled_from(["weather", "no good", ""]),
    st.sampled_from(["{}", '{"a": 1}', "[]", "{", ""]),
)
MESSAGES = st.builds(
    said,
    st.sampled_from(["user", "assistant", "assistant", "tool", "system"]),
    st.sampled_from(["", " ", "word", "另一个"]),
    status=st.sampled_from(["complete"] * 6 + ["superseded", "superseded", "failed", "streaming"]),
    tool_calls=st.one_of(st.none(), st.none(), st.lists(CALL, max_size=2)),
    tool_call_id=st.sampled_from([None, "a", "b"]),
    turn_id=st.sampled_from([None, ObjectId()]),
    finish_reason=st.sampled_from(["stop", None, "length"]),
    feedback=st.sampled_from([None, None, {"rating": "up"}, {"rating": "down"}]),
)
WELL_FORMED = st.sampled_from(
    [
        said("user", "Q"),
        said("assistant", "A"),
        said("assistant", "B", status="superseded", turn_id=ObjectId(), finish_reason="stop"),
        said("assistant", "C", turn_id=ObjectId(), finish_reason="stop", feedback={"rating": "up"}),
        said("assistant", "", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
        said("tool", "R", tool_call_id="a"),
    ]
)


@pytest.mark.parametrize("format", CHECKS)
@given(
    messages=st.lists(st.one_of(MESSAGES, WELL_FORMED, WELL_FORMED), max_size=12),
    include_system=st.booleans(),
    chosen=st.sampled_from(["down", "unrated", "up"]),
    prompt=st.sampled_from([None, "", "S"]),
    max_tokens=st.sampled_from([20, 65_536]),
)
def test_lines_meet_the_rules_and_the_rest_has_reasons(
    format: str, messages: list[Row], include_system: bool, chosen: Any, prompt: str | None, max_tokens: int
) -> None:
    options: dict[str, Any] = {"include_system": include_system, "max_tokens": max_tokens}
    if "preference" in format:
        options["assume_latest_preferred"] = chosen == "up"
    elif format in {"openai-chat", "sharegpt"}:
        options["min_rating"] = chosen
    lines, omissions = make(format, transcript(*messages, tools=[WEATHER], system_prompt=prompt), **options)

    assert lines or omissions
    assert all(each.seq is None or 1 <= each.seq <= len(messages) for each in omissions)
    if format in {"openai-chat", "sharegpt"}:
        assert len(lines) <= 1
        assert [each.part for each in omissions] in ([], ["rest"] if lines else ["conversation"])
