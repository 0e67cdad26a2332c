"""Tool calls, however a server cuts them."""

import json
from typing import Any

import pytest

from app.llm import toolcalls
from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import Finish, ProviderError, TextDelta, ToolCall, Usage
from tests.llm.conftest import Connect, ask, collect, complete
from tests.upstream import Upstream, call_piece, chunk, completion, events, raw, thought

BERN = ToolCall("call_1", "weather", '{"city": "Bern"}')
ROME = ToolCall("call_2", "weather", '{"city": "Rome"}')


def whole(call: ToolCall, index: int | None = 0, arguments: Any = None) -> dict[str, Any]:
    return call_piece(index, id=call.id, name=call.name, arguments=call.arguments if arguments is None else arguments)


async def test_pieces_are_joined(provider: OpenAICompatible) -> None:
    assert await collect(provider, ask("tool-call")) == [Finish("tool_calls", Usage(5, 4, 9), (BERN,))]


ENDED = [chunk(finish="tool_calls"), "[DONE]"]
FORMS: dict[str, tuple[list[Any], tuple[ToolCall, ...]]] = {
    "two at once, pieces mixed": (
        [
            call_piece(0, id="call_1", name="weather", arguments=""),
            call_piece(1, id="call_2", name="weather", arguments='{"city"'),
            call_piece(0, arguments='{"city": "Bern"}'),
            call_piece(1, arguments=': "Rome"}'),
        ],
        (BERN, ROME),
    ),
    "id and name repeated": (
        [
            call_piece(id="call_1", name="weather", arguments='{"city": '),
            call_piece(id="call_1", name="weather", arguments='"Bern"}'),
        ],
        (BERN,),
    ),
    "empty id and name in later pieces": (
        [
            call_piece(id="call_1", name="weather", arguments='{"city": '),
            call_piece(id="", name="", arguments='"Bern"}'),
        ],
        (BERN,),
    ),
    "whole calls": ([whole(BERN, 0), whole(ROME, 1)], (BERN, ROME)),
    "whole calls, all with index 0": ([whole(BERN), whole(ROME)], (BERN, ROME)),
    "whole calls without an index": ([whole(BERN, None), whole(ROME, None)], (BERN, ROME)),
    "pieces without an index": (
        [
            call_piece(None, id="call_1", name="weather", arguments='{"city": '),
            call_piece(None, arguments='"Bern"}'),
            call_piece(None, id="call_2", name="weather", arguments='{"city": '),
            call_piece(None, id="call_2", arguments='"Rome"}'),
        ],
        (BERN, ROME),
    ),
    "arguments as an object": ([whole(BERN, arguments={"city": "Bern"})], (BERN,)),
    "no arguments": (
        [call_piece(id="a", name="now"), call_piece(1, id="b", name="now", arguments=None)],
        (ToolCall("a", "now", ""), ToolCall("b", "now", "")),
    ),
    "arguments that are no JSON": ([whole(BERN, arguments="{oops")], (ToolCall("call_1", "weather", "{oops"),)),
    "lone surrogates": (
        [
            whole(BERN, arguments="a\ud83d"),
            call_piece(arguments="\ude00b\ud83d"),
            call_piece(1, id="x\ud83d", name="y"),
        ],
        (ToolCall("call_1", "weather", "a😀b\ufffd"), ToolCall("x\ufffd", "y", "")),
    ),
    "a call without a name": ([call_piece(id="a", arguments="{}"), whole(BERN, 1)], (BERN,)),
}


@pytest.mark.parametrize("name", FORMS)
async def test_forms_that_servers_are_known_for(upstream: Upstream, provider: OpenAICompatible, name: str) -> None:
    payloads, calls = FORMS[name]
    upstream.script["calls"] = events(*payloads, *ENDED)
    assert await collect(provider, ask("calls")) == [Finish("tool_calls", None, calls)]


@pytest.mark.parametrize(
    ("said", "meant"), [("stop", "tool_calls"), ("length", "length"), ("tool_calls", "tool_calls")]
)
async def test_a_stop_with_tool_calls_means_tool_calls(
    upstream: Upstream, provider: OpenAICompatible, said: str, meant: str
) -> None:
    upstream.script["calls"] = events(chunk("Let me look."), whole(BERN), chunk(finish=said), "[DONE]")
    assert await collect(provider, ask("calls")) == [TextDelta("Let me look."), Finish(meant, None, (BERN,))]


async def test_ids_are_made_up_where_they_are_missing_or_not_unique(
    upstream: Upstream, provider: OpenAICompatible
) -> None:
    upstream.script["calls"] = events(
        call_piece(0, name="a", arguments=""), call_piece(1, id="x", name="b"), call_piece(2, id="x", name="c"), *ENDED
    )
    [finish] = await collect(provider, ask("calls"))
    assert isinstance(finish, Finish)
    assert [call.name for call in finish.tool_calls] == ["a", "b", "c"]
    ids = [call.id for call in finish.tool_calls]
    assert (len(set(ids)), ids[1], ids[0][:5], ids[2][:5]) == (3, "x", "call_", "call_")


async def test_a_whole_completion_with_calls(upstream: Upstream, provider: OpenAICompatible) -> None:
    body = completion(None, finish="tool_calls")
    function = {"name": "weather", "arguments": BERN.arguments}
    body["choices"][0]["message"]["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    body["choices"][0]["message"]["reasoning"] = "hmm"
    upstream.script["whole"] = raw(json.dumps(body).encode(), content_type="application/json")
    assert await collect(provider, ask("whole")) == [Finish("tool_calls", None, (BERN,), "hmm")]


@pytest.mark.parametrize(
    "calls", ["x", {"a": 1}, ["x"], [{"function": "x"}]], ids=["text", "object", "list of text", "no function"]
)
async def test_what_is_no_call_is_no_completion(upstream: Upstream, provider: OpenAICompatible, calls: Any) -> None:
    upstream.script["calls"] = events({"choices": [{"delta": {"tool_calls": calls}}]})
    with pytest.raises(ProviderError) as error:
        await collect(provider, ask("calls"))
    assert error.value.code == "upstream_invalid"


async def test_calls_are_bounded_in_number(
    upstream: Upstream, provider: OpenAICompatible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolcalls, "MAX_CALLS", 2)
    pieces = [call_piece(n, id=f"c{n}", name="f", arguments="{}") for n in range(4)]
    upstream.script["calls"] = events(*pieces[:2], *ENDED)
    [finish] = await collect(provider, ask("calls"))
    assert finish == Finish("tool_calls", None, (ToolCall("c0", "f", "{}"), ToolCall("c1", "f", "{}")))
    upstream.script["calls"] = events(*pieces, *ENDED)
    [finish] = await collect(provider, ask("calls"))
    assert finish == Finish("length", None, (ToolCall("c0", "f", "{}"), ToolCall("c1", "f", "{}")))


async def test_calls_are_bounded_in_size(upstream: Upstream, connect: Connect) -> None:
    pieces = [call_piece(0, id="a", name="f", arguments="你"), call_piece(1, id="b", name="f", arguments="1234")]
    upstream.script["calls"] = events(*pieces, call_piece(1, arguments="5"), *ENDED)
    [finish] = await collect(connect(max_answer_bytes=12), ask("calls"))
    assert finish == Finish("tool_calls", None, (ToolCall("a", "f", "你"), ToolCall("b", "f", "12345")))
    [finish] = await collect(connect(max_answer_bytes=11), ask("calls"))
    assert finish == Finish("length", None, (ToolCall("a", "f", "你"),))


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept_apart_and_bounded(upstream: Upstream, connect: Connect, name: str) -> None:
    upstream.script["thinking"] = events(
        thought("Let \ud83d", name), thought("\ude00 me", name), chunk("42", finish="stop"), "[DONE]"
    )
    assert await complete(connect(), ask("thinking")) == ("42", Finish("stop", reasoning="Let 😀 me"))
    assert await complete(connect(max_answer_bytes=6), ask("thinking")) == ("42", Finish("stop", reasoning="Let "))


async def test_content_in_parts(upstream: Upstream, provider: OpenAICompatible) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}, {"type": "text", "text": "Hi"}]
    upstream.script["parts"] = events({"choices": [{"delta": {"content": parts}, "finish_reason": "stop"}]})
    assert await complete(provider, ask("parts")) == ("Hi", Finish("stop", reasoning="hmm"))


async def test_usage_inside_the_choice(upstream: Upstream, provider: OpenAICompatible) -> None:
    last = chunk(finish="stop")
    last["choices"][0]["usage"] = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    upstream.script["inside"] = events(chunk("Hi"), last, "[DONE]")
    assert await complete(provider, ask("inside")) == ("Hi", Finish("stop", Usage(1, 2, 3)))
