"""Answers that arrive, from a real server, in every form that servers are known to give them."""

from typing import Any

import pytest

from app.llm import openai_compatible
from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import ChatMessage, CompletionRequest, Finish, ProviderError, TextDelta, Usage
from tests.llm.conftest import Connect, ask, collect, complete
from tests.upstream import HTML, USAGE, Upstream, answer, chunk, completion, cut, event, events, raw, stall

COUNTED = Usage(prompt_tokens=5, completion_tokens=4, total_tokens=9)


async def test_tokens_arrive_as_deltas_with_usage(provider: OpenAICompatible) -> None:
    assert await collect(provider, ask("tokens")) == [
        TextDelta("Hello"),
        TextDelta(", "),
        TextDelta("world"),
        TextDelta("!"),
        Finish("stop", COUNTED),
    ]


async def test_a_delta_is_there_before_the_next_token_is_made(upstream: Upstream, provider: OpenAICompatible) -> None:
    texts: list[str] = []
    upstream.gate.release()
    async for each in provider.stream(ask("drip")):
        if isinstance(each, TextDelta):
            texts.append(each.text)
            upstream.gate.release()
    assert texts == ["Hello", ", ", "world", "!"]


async def test_what_the_upstream_receives(upstream: Upstream, connect: Connect) -> None:
    messages = [
        ChatMessage("system", "be brief"),
        ChatMessage("user", "你好 😀"),
        ChatMessage("assistant", ""),
        ChatMessage("tool", "42"),
    ]
    provider = connect(api_key="secret-key", base_url=upstream.base_url + "/")
    await complete(provider, CompletionRequest("m", messages, temperature=0.0, top_p=0.5, max_tokens=7))
    [exchange] = upstream.requests
    assert exchange.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "你好 😀"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "42"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "top_p": 0.5,
        "max_tokens": 7,
    }
    assert exchange.headers["Authorization"] == "Bearer secret-key"
    assert exchange.headers["Content-Type"] == "application/json"
    assert exchange.headers["User-Agent"].startswith("verbatim/")


async def test_parameters_that_are_not_given_are_not_sent(upstream: Upstream, provider: OpenAICompatible) -> None:
    await complete(provider, ask("m"))
    [exchange] = upstream.requests
    assert set(exchange.body) == {"model", "messages", "stream", "stream_options"}
    assert "Authorization" not in exchange.headers


@pytest.mark.parametrize(
    ("model", "text", "finish"),
    [
        ("length", "Hello, world!", Finish("length", COUNTED)),
        ("no-usage", "Hello, world!", Finish("stop", None)),
        ("usage-in-last-chunk", "Hi", Finish("stop", COUNTED)),
        ("no-done", "Hi", Finish("stop", None)),
        ("no-finish", "Hi", Finish("stop", None)),
        ("crlf", "Hi", Finish("stop", None)),
        ("whole", "Hi", Finish("stop", COUNTED)),
        ("lone-surrogate", "a\ufffdb", Finish("stop", None)),
        ("split-surrogates", "a😀b", Finish("stop", None)),
    ],
)
async def test_known_quirks(provider: OpenAICompatible, model: str, text: str, finish: Finish) -> None:
    assert await complete(provider, ask(model)) == (text, finish)


def role_everywhere(text: str | None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": text, "reasoning_content": "hmm"}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": ""}], "usage": None, "error": None}


STREAMS: dict[str, tuple[list[Any], str, Finish]] = {
    "role and null content repeated, empty finish reason": (
        [role_everywhere(None), role_everywhere("Hi"), role_everywhere(""), chunk(finish="stop"), "[DONE]"],
        "Hi",
        Finish("stop", reasoning="hmmhmmhmm"),
    ),
    "only reasoning, no text": (
        [role_everywhere(None), chunk(finish="stop"), "[DONE]"],
        "",
        Finish("stop", reasoning="hmm"),
    ),
    "no choices at first": ([{"choices": []}, {}, chunk("Hi", finish="stop")], "Hi", Finish("stop")),
    "finish reason repeated with the usage": (
        [chunk("Hi"), chunk(finish="length"), chunk(finish="length", usage=USAGE)],
        "Hi",
        Finish("length", COUNTED),
    ),
    "no total": (
        [chunk("Hi", finish="stop", usage={"prompt_tokens": 5, "completion_tokens": 4})],
        "Hi",
        Finish("stop", COUNTED),
    ),
    "usage that is none": (
        [chunk("Hi", finish="stop", usage={"prompt_tokens": -1, "completion_tokens": 2**70})],
        "Hi",
        Finish("stop", None),
    ),
    "a whole completion as one event": ([completion("Hi"), "[DONE]"], "Hi", Finish("stop")),
    "events behind the end": ([chunk("Hi", finish="stop"), "[DONE]", chunk("more"), "junk"], "Hi", Finish("stop")),
    "an unusable finish reason": ([chunk("Hi", finish="x\ud83d" * 99)], "Hi", Finish(("x\ufffd" * 32)[:63] + "…")),
    "half a character at the end": ([chunk("Hi\ud83d", finish="stop")], "Hi\ufffd", Finish("stop")),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_odd_streams(upstream: Upstream, provider: OpenAICompatible, name: str) -> None:
    payloads, text, finish = STREAMS[name]
    upstream.script["odd"] = events(*payloads)
    assert await complete(provider, ask("odd")) == (text, finish)


async def test_packets_that_split_characters_and_events(upstream: Upstream, provider: OpenAICompatible) -> None:
    # Unlike `event()`, these send the characters themselves rather than their escapes.
    stream = '\ufeff: hello\n\ndata: {"choices":[{"delta":{"content":"你好 😀"}}]}\r\n\r\n'.encode()
    stream += event(chunk(finish="stop"))[:-2]  # without the empty line behind it
    upstream.script["bytes"] = raw(*(stream[i : i + 1] for i in range(len(stream))))
    assert await complete(provider, ask("bytes")) == ("你好 😀", Finish("stop"))


async def test_a_mislabelled_stream_is_read(upstream: Upstream, provider: OpenAICompatible) -> None:
    upstream.script["plain"] = raw(event(chunk("Hi", finish="stop")), content_type="text/plain")
    assert await complete(provider, ask("plain")) == ("Hi", Finish("stop"))


async def test_an_answer_over_the_limit_ends_with_length(upstream: Upstream, connect: Connect) -> None:
    upstream.script["long"] = answer(["你好", "你好", "你好"])
    text, finish = await complete(connect(max_answer_bytes=10), ask("long"))
    assert (text, finish) == ("你好你", Finish("length", None))
    text, finish = await complete(connect(max_answer_bytes=18), ask("long"))
    assert (text, finish) == ("你好你好你好", Finish("stop", COUNTED))


@pytest.mark.parametrize("model", ["stall-finished", "stall-done"])
async def test_a_complete_answer_does_not_wait_for_a_silent_server(
    upstream: Upstream, provider: OpenAICompatible, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(openai_compatible, "_USAGE_SECONDS", 0.05)
    upstream.script["stall-done"] = stall(chunk("Hi"), chunk(finish="stop"), "[DONE]")
    assert await complete(provider, ask(model)) == ("Hi", Finish("stop", None))
    await upstream.hung_up.acquire()


async def test_a_connection_cut_after_the_finish_reason_costs_only_the_usage(
    upstream: Upstream, provider: OpenAICompatible
) -> None:
    upstream.script["cut-finished"] = cut(chunk("Hi"), chunk(finish="stop"))
    assert await complete(provider, ask("cut-finished")) == ("Hi", Finish("stop", None))


async def test_html_is_not_taken_for_an_answer_even_with_a_good_label(upstream: Upstream, connect: Connect) -> None:
    for content_type in ("text/event-stream", "application/json", "text/html"):
        upstream.script["page"] = raw(HTML, content_type=content_type)
        with pytest.raises(ProviderError) as error:
            await complete(connect(), ask("page"))
        assert error.value.code == "upstream_invalid"
