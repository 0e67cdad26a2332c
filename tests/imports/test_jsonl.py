"""JSON Lines: what a line may hold, and that a bad one touches no other."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.imports import fields, json_array, jsonl, records
from app.imports.records import ImportedConversation, ImportedMessage

from .samples import GOOD, SURROGATE, bad, conversation, ids, line_of, only, read, with_message


def test_a_line_becomes_a_conversation(opened: Any) -> None:
    message = {"role": "assistant", "content": "a\u0000b 🙂", "model": "m", "metadata": {"k": "v"}}
    value = conversation(
        created_at="2024-05-01T12:00:00.123456+02:00", messages=[{**message, "created_at": 1700000000.5}]
    )
    source = opened(line_of(value))
    assert source.format == "jsonl"
    assert only(read(source)) == ImportedConversation(
        source_id="good",
        title="好",
        tags=("t",),
        messages=(
            ImportedMessage("assistant", "a\0b 🙂", datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC), "m", {"k": "v"}),
        ),
        created_at=datetime(2024, 5, 1, 10, 0, 0, 123_000, UTC),
        position=1,
    )


def test_what_may_be_absent_is_empty(opened: Any) -> None:
    found = only(read(opened(b'{"id": "x", "messages": []}')))
    assert (found.title, found.tags, found.messages, found.created_at) == ("", (), (), None)


def test_blank_lines_count_and_a_byte_order_mark_does_not_matter(opened: Any) -> None:
    data = (
        b"\xef\xbb\xbf\n \r\n" + line_of(GOOD).replace(b"\n", b"\r\n") + b"\n" + line_of(conversation(id="last"))[:-1]
    )
    found = read(opened(data))
    assert [(record.position, identity) for record, identity in zip(found, ids(found), strict=True)] == [
        (3, "good"),
        (5, "last"),
    ]
    assert ids(read(opened(b"\xef\xbb\xbf" + line_of(GOOD)))) == ["good"]


def test_the_same_id_twice_gives_both(opened: Any) -> None:
    assert ids(read(opened(line_of(GOOD) * 2))) == ["good", "good"]


BAD_LINES = [
    (b'{"id": "x", "messages": [\n', "not valid JSON"),
    (b"[1, 2]\n", "not a JSON object"),
    (b'"text"\n', "not a JSON object"),
    (b'{"id": "x", "messages": [], "other": NaN}\n', "not valid JSON"),
    (b'{"id": "x", "messages": [], "other": -Infinity}\n', "not valid JSON"),
    (b'{"id": "x", "messages": [], "other": 1e400}\n', "not valid JSON"),
    (b'{"id": "x", "messages": [], "other": ' + b"9" * 5000 + b"}\n", "not valid JSON"),
    (b'{"id": "x", "messages": [], "other": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "not valid JSON"),
    (b'{"id": "\xff", "messages": []}\n', "not valid UTF-8"),
    ('{"id": "é"}\n'.encode("utf-16-le"), "not valid"),
    (line_of(conversation(id=SURROGATE)), "surrogate"),
    (line_of(with_message(content="\udc00")), "surrogate"),
    (b'{"messages": []}\n', "The id is missing or empty"),
    (line_of(conversation(id="")), "The id is missing or empty"),
    (line_of(conversation(id=7)), "The id is not a string but 7"),
    (line_of(conversation(id="i" * 501)), "The id has 501 characters, more than 500"),
    (line_of(conversation(title=["t"])), "The title is not a string but ['t']"),
    (line_of(conversation(title="题" * 501)), "The title has 501 characters, more than 500"),
    (line_of(conversation(tags="t")), "The tags are not a list but 't'"),
    (line_of(conversation(tags=["t"] * 65)), "There are 65 tags, more than 64"),
    (line_of(conversation(tags=["t", "x" * 101])), "Tag 2 has 101 characters, more than 100"),
    (line_of(conversation(tags=[None])), "Tag 1 is not a string but None"),
    (b'{"id": "x"}\n', "The messages are missing or not a list"),
    (line_of(conversation(messages={"role": "user"})), "The messages are missing or not a list"),
    (line_of(conversation(messages=["hi"])), "Message 1 is not an object"),
    (line_of(with_message(role="robot")), "Message 2: The role 'robot' is none of system, user, assistant, tool"),
    (line_of(with_message(role=["user"])), "Message 2: The role ['user'] is none of"),
    (line_of(with_message(content=None)), "Message 2: The content is not a string but None"),
    (line_of(with_message(content="é" * (512 * 1024) + "x")), "1,048,577 bytes of UTF-8, more than 1,048,576"),
    (line_of(with_message(model=3)), "Message 2: The model is not a string but 3"),
    (line_of(with_message(created_at="yesterday")), "The time 'yesterday' is neither ISO 8601 nor Unix seconds"),
    (line_of(with_message(created_at=True)), "The time True is neither"),
    (line_of(conversation(created_at=10**30)), "The time 1e+30 is neither"),
    (line_of(with_message(metadata={"k": 1})), "The metadata 'k' is not a string but 1"),
    (line_of(with_message(metadata=[])), "The metadata is not an object"),
    (line_of(with_message(metadata={str(n): "" for n in range(17)})), "The metadata has 17 pairs, more than 16"),
    (line_of(with_message(metadata={"$set": "x"})), "The metadata key '$set' is empty, begins with '$'"),
    (
        line_of(with_message(metadata={"a.b": "x"})),
        "The metadata key 'a.b' is empty, begins with '$' or holds '.' or NUL",
    ),
    (line_of(conversation(tags=["t", " "])), "A tag is empty"),
    (line_of(with_message(metadata={"": "x"})), "The metadata key '' is empty"),
    (line_of(with_message(metadata={"a\0": "x"})), "or NUL"),
]


@pytest.mark.parametrize(
    ("line", "reason"), BAD_LINES, ids=[f"{reason[:40]}-{n}" for n, (_, reason) in enumerate(BAD_LINES)]
)
def test_a_bad_line_is_reported_and_the_rest_is_read(opened: Any, line: bytes, reason: str) -> None:
    # A newline in UTF-16 is a newline and a NUL: the NUL becomes a bad line of its own.
    stray = b"\n" if line.endswith(b"\0") else b""
    found = read(opened(line_of(GOOD) + line + stray + line_of(conversation(id="after"))))
    assert ids(found)[0] == "good"
    assert ids(found)[-1] == "after"
    assert found[1].position == 2
    assert reason in bad(found[1])
    assert "\n" not in bad(found[1])


@pytest.mark.parametrize(
    "members",
    [
        {"title": "题" * 500, "tags": ["x" * 100] * 64},
        {"messages": [{"role": "tool", "content": "é" * (512 * 1024)}]},
        {"messages": [{"role": "tool", "content": "", "model": "", "metadata": {"a$": ""}}]},
    ],
)
def test_what_just_fits_is_taken(opened: Any, members: dict[str, Any]) -> None:
    assert ids(read(opened(line_of(conversation(**members))))) == ["good"]


def test_a_bad_first_line_does_not_hide_the_format(opened: Any) -> None:
    assert ids(read(opened(b"oops\n" + line_of(GOOD)))) == ["BAD", "good"]


@pytest.mark.parametrize("excess", [1, 100, 1000])
def test_a_line_over_the_limit_is_skipped_whole(opened: Any, monkeypatch: pytest.MonkeyPatch, excess: int) -> None:
    limit = len(line_of(GOOD)) - 1
    monkeypatch.setattr(jsonl, "LINE_LIMIT", limit)
    long = line_of(conversation(id="good" + "x" * excess))
    found = read(opened(line_of(GOOD) + long + line_of(GOOD) + long.strip()))
    assert ids(found) == ["good", "BAD", "good", "BAD"]
    assert [record.position for record in found] == [1, 2, 3, 4]
    assert bad(found[1]) == f"The line is longer than {limit} bytes"


def test_the_limits_are_those_promised() -> None:
    assert (records.TITLE_LIMIT, fields.TAGS, fields.TAG_LIMIT, records.CONTENT_LIMIT) == (500, 64, 100, 1 << 20)
    assert jsonl.LINE_LIMIT == json_array.ITEM_LIMIT == 64 * 1024 * 1024
