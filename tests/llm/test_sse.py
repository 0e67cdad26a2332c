"""The event parser: whatever the network's packets are, the payloads are the same."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm.sse import MAX_EVENT_BYTES, EventParser, EventTooLargeError


def parse(*chunks: bytes) -> list[str]:
    parser = EventParser()
    payloads = [payload for chunk in chunks for payload in parser.feed(chunk)]
    return [*payloads, *parser.end()]


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a \n\n", [" a "]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\ndata: b\n\n", ["\nb"]),
        (b": ping\n\n: ping\ndata: a\n: ping\n\n", ["a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\nevent: y\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        ("data: 你好 🙂\n\n".encode(), ["你好 🙂"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"data: a\n\ndata: b", ["a", "b"]),
        (b"data: a\n\ndata: b\n", ["a", "b"]),
        (b"", []),
        (b"\n\n\n", []),
        (b"<html>\n\n", []),
    ],
)
def test_payloads_of_a_stream(stream: bytes, payloads: list[str]) -> None:
    assert parse(stream) == payloads
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == payloads


_LINES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=9).map("data: {}".format),
    st.sampled_from(["", "", "data:", "data", ": comment", "event: x", "id: 1", "<html>"]),
)
_STREAMS = st.one_of(
    st.lists(st.tuples(_LINES, st.sampled_from(["\n", "\r\n", "\r"])), max_size=20).map(
        lambda lines: "".join(line + end for line, end in lines).encode()
    ),
    st.binary(max_size=60),
    st.lists(st.sampled_from([b"data:", b" ", b"\r", b"\n", b"\xf0\x9f", b"\x99\x82", b"x"]), max_size=30).map(
        b"".join
    ),
)


@given(_STREAMS, st.lists(st.integers(0, 400), max_size=12))
def test_any_split_gives_the_same_payloads(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parse(*(stream[a:b] for a, b in pairwise(edges))) == parse(stream)


def test_foreign_lines_are_noticed() -> None:
    parsers = {text: EventParser() for text in (b": hi\nid: 1\ndata: x\n\n", b"<html>\n")}
    for text, parser in parsers.items():
        list(parser.feed(text))
    assert [parser.is_foreign for parser in parsers.values()] == [False, True]


@pytest.mark.parametrize("size", [100, 4096, 2 * MAX_EVENT_BYTES])
@pytest.mark.parametrize("line", [b"data: " + b"x" * 1018 + b"\n", b"data:\n", b"x" * 1024])
def test_an_event_is_bounded_however_it_arrives(line: bytes, size: int) -> None:
    stream = line * (2 * MAX_EVENT_BYTES // len(line))
    chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
    with pytest.raises(EventTooLargeError):
        parse(*chunks)


def test_comments_and_ended_events_do_not_add_up_to_the_bound() -> None:
    parser = EventParser()
    block = b": " + b"x" * 1000 + b"\n"
    assert [payload for _ in range(1500) for payload in parser.feed(block)] == []
    event = b"data: " + b"x" * (MAX_EVENT_BYTES - 100) + b"\n\n"
    assert sum(len(payload) for _ in range(3) for payload in parser.feed(event)) == 3 * (MAX_EVENT_BYTES - 100)


def test_a_long_event_in_small_packets_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        parser = EventParser()
        started = time.process_time()
        for _ in range(size // 16):
            list(parser.feed(b"x" * 16))
        return time.process_time() - started

    small, large = seconds(MAX_EVENT_BYTES // 16), seconds(MAX_EVENT_BYTES)
    # 16 times the bytes: linear is 16 times the work, quadratic 256 times.
    assert large < 80 * max(small, 0.001)
