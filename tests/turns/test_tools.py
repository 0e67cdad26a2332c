"""Tools: their definitions go to the model, its calls are stored as structure, and their results go back."""

from typing import Any

import httpx
import pytest

from tests.streams import stream
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import Upstream, chunk, events

pytestmark = pytest.mark.mongod

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "天气",
            "parameters": {
                "type": "object",
                "$defs": {"city.name": {"type": "string"}},
                "properties": {"city": {"$ref": "#/$defs/city.name"}},
            },
        },
    }
]
ARGUMENTS = '{"city": "上海"}'


def call(id: str, arguments: str = ARGUMENTS) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


@pytest.fixture
def upstream_calls(upstream: Upstream) -> Upstream:
    """Models that call `weather` in two pieces, once or twice."""

    def piece(index: int, **function: Any) -> dict[str, Any]:
        delta = {
            "tool_calls": [
                {
                    "index": index,
                    **({"id": f"call_{index}", "type": "function"} if "name" in function else {}),
                    "function": function,
                }
            ]
        }
        return {**chunk(), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def calls(count: int) -> list[Any]:
        pieces = [
            each
            for index in range(count)
            for each in (
                piece(index, name="weather", arguments=""),
                piece(index, arguments=ARGUMENTS[:5]),
                piece(index, arguments=ARGUMENTS[5:]),
            )
        ]
        return [chunk("Let me see. "), *pieces, chunk(finish="tool_calls"), "[DONE]"]

    upstream.script["calls"] = events(*calls(1))
    upstream.script["calls-twice"] = events(*calls(2))
    return upstream


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> str:
    return await new_conversation(as_ana, model="local:calls")


async def test_calls_are_stored_and_told_at_the_end(
    live_ana: httpx.AsyncClient, conversation: str, upstream_calls: Upstream
) -> None:
    told = await stream(
        live_ana, f"{conversation}/turns", {"content": "Weather?", "tools": TOOLS, "tool_choice": "auto"}
    )

    answer = told[-1].data["assistant_message"]
    assert (answer["content"], answer["finish_reason"]) == ("Let me see. ", "tool_calls")
    assert answer["tool_calls"] == [call("call_0")]
    assert answer == (await messages_of(live_ana, conversation))[1]
    sent = upstream_calls.requests[-1].body
    assert (sent["tools"], sent["tool_choice"]) == (TOOLS, "auto")


@pytest.mark.parametrize("count", [1, 2])
async def test_results_go_back_with_their_calls(
    as_ana: httpx.AsyncClient, conversation: str, upstream_calls: Upstream, count: int
) -> None:
    model = "local:calls" if count == 1 else "local:calls-twice"
    await as_ana.post(f"{conversation}/turns", json={"content": "Weather?", "model": model})
    outputs = [{"tool_call_id": f"call_{index}", "content": f"sunny {index}"} for index in reversed(range(count))]

    response = await as_ana.post(
        f"{conversation}/turns", json={"tool_outputs": outputs, "model": "local:tokens", "tools": TOOLS}
    )

    assert response.status_code == 201
    turn = response.json()
    assert turn["user_message"] is None
    assert turn["assistant_message"]["seq"] == 3 + count
    results = (await messages_of(as_ana, conversation))[2:-1]
    assert [(m["role"], m["tool_call_id"], m["content"], m["turn_id"]) for m in results] == [
        ("tool", f"call_{index}", f"sunny {index}", turn["id"]) for index in range(count)
    ]
    sent = upstream_calls.requests[-1].body["messages"]
    assert sent[1]["tool_calls"] == [call(f"call_{index}") for index in range(count)]
    assert sent[2:] == [
        {"role": "tool", "tool_call_id": f"call_{index}", "content": f"sunny {index}"} for index in range(count)
    ]
    again = await as_ana.post(f"{conversation}/regenerate", json={"model": "local:tokens"})
    assert again.json()["user_message"] is None
    assert upstream_calls.requests[-1].body["messages"] == sent


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [{"tool_call_id": "call_9", "content": "x"}],
        [{"tool_call_id": "call_0", "content": "x"}, {"tool_call_id": "call_0", "content": "y"}],
        [{"tool_call_id": "call_0", "content": "x"}, {"tool_call_id": "call_1", "content": "y"}],
        [{"tool_call_id": "call_0"}],
        [{"tool_call_id": "call_0", "content": "é" * (512 * 1024) + "."}],
    ],
)
async def test_results_that_are_not_asked_for_are_refused(
    as_ana: httpx.AsyncClient, conversation: str, upstream_calls: Upstream, outputs: Any
) -> None:
    await as_ana.post(f"{conversation}/turns", json={"content": "Weather?"})

    response = await as_ana.post(f"{conversation}/turns", json={"tool_outputs": outputs})

    assert response.status_code == 422
    assert response.json()["fields"][0]["field"].startswith("body.tool_outputs")
    assert len(await messages_of(as_ana, conversation)) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"content": "Hi", "tool_outputs": [{"tool_call_id": "call_0", "content": "x"}]},
        {"tool_outputs": [{"tool_call_id": "call_0", "content": "x"}]},
    ],
)
async def test_results_need_a_message_that_calls_tools_and_no_question(
    as_ana: httpx.AsyncClient, conversation: str, body: Any
) -> None:
    assert (await as_ana.post(f"{conversation}/turns", json=body)).status_code == 422


async def test_keys_that_cannot_be_stored_are_allowed_in_tools_alone(
    as_ana: httpx.AsyncClient, conversation: str, upstream_calls: Upstream
) -> None:
    for body in (
        {"content": "Hi", "metadata": {"$ref": "x"}},
        {"content": "Hi", "tools": TOOLS, "metadata": {"a.b": "x"}},
        {"content": "Hi", "tools": [1]},
        {"content": "Hi", "tools": []},
    ):
        assert (await as_ana.post(f"{conversation}/turns", json=body)).status_code == 422
    refused = await as_ana.post("/api/conversations", json={"tools": {"$ref": "x"}})
    assert refused.status_code == 422
    assert await messages_of(as_ana, conversation) == []


async def test_calls_and_results_can_be_appended_by_hand(
    as_ana: httpx.AsyncClient, conversation: str, upstream_calls: Upstream
) -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call("c1")]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]
    appended = await as_ana.post(f"{conversation}/messages/bulk", json={"messages": messages})
    assert appended.status_code == 201

    response = await as_ana.post(f"{conversation}/regenerate", json={"model": "local:tokens"})

    assert response.status_code == 201
    assert upstream_calls.requests[-1].body["messages"][1]["tool_calls"] == [call("c1")]
