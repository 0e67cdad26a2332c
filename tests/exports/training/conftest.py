"""Conversations with a model that calls tools and answers again, and readers of the files."""

import httpx
import pytest

from tests.exports.training.transcripts import WEATHER
from tests.turns.conftest import new_conversation, settings, upstream
from tests.upstream import Upstream, answer, chunk, events

__all__ = ["settings", "upstream"]


@pytest.fixture
def models(upstream: Upstream) -> Upstream:
    """`local:calls` calls the weather, `local:other` answers "Other"."""
    arguments = '{"city": "上海"}'
    call = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    piece = {**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
    upstream.script["calls"] = events(piece, chunk(finish="tool_calls"), "[DONE]")
    upstream.script["other"] = answer(["Other"])
    return upstream


@pytest.fixture
async def talk(as_ana: httpx.AsyncClient, models: Upstream) -> str:
    """Ana's conversation: a question, a tool's call and answer, an answer that was given twice."""
    path = await new_conversation(as_ana, model="local:calls", system_prompt="You know the weather.", tags=["weather"])
    turns = (
        {"content": "天气?", "tools": [WEATHER]},
        {"tool_outputs": [{"tool_call_id": "call_0", "content": "晴"}], "model": "local:tokens", "tools": [WEATHER]},
    )
    for turn in turns:
        response = await as_ana.post(f"{path}/turns", json=turn)
        assert response.status_code == 201, response.text
    response = await as_ana.post(f"{path}/regenerate", json={"model": "local:other", "tools": [WEATHER]})
    assert response.status_code == 201, response.text
    return path
