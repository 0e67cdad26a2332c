"""Messages over a WebSocket that cannot be understood, are too large, or meet a fault."""

import re
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect
from websockets.exceptions import ConnectionClosed

from app.api.socket_requests import Requests
from app.conversations.repository import ConversationRepository
from tests.conftest import Person
from tests.rooms.sockets import connect, text_of
from tests.turns.conftest import conversation, settings, upstream

__all__ = ["conversation", "settings", "upstream"]

pytestmark = pytest.mark.mongod

NOBODY = str(ObjectId("0123456789abcdef01234567"))


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


MALFORMED: list[tuple[Any, str | None, list[str]]] = [
    ("not json", None, ["body"]),
    ("", None, ["body"]),
    ('{"id": "x", "type": "ping", "id": "y"}', None, ["body"]),
    ('{"id": "x", "type": "ping", "n": NaN}', None, ["body"]),
    ('{"id": "x", "type": "ping", "s": "\\ud800"}', None, ["body"]),
    (b'{"id": "x", "type": "ping"}', None, []),
    ([], None, ["body"]),
    ({"id": "x"}, "x", ["body"]),
    ({"id": "x", "type": "dance"}, "x", ["body"]),
    ({"id": "x", "type": 1}, "x", ["body"]),
    ({"type": "ping"}, None, ["body.id"]),
    ({"id": 7, "type": "ping"}, None, ["body.id"]),
    ({"id": "", "type": "ping"}, "", ["body.id"]),
    ({"id": "x", "type": "ping", "more": 1}, "x", ["body.more"]),
    ({"id": "x", "type": "subscribe"}, "x", ["body.conversation_id"]),
    ({"id": "x", "type": "subscribe", "conversation_id": "short"}, "x", ["body.conversation_id"]),
    ({"id": "x", "type": "subscribe", "conversation_id": NOBODY, "after_seq": -1}, "x", ["body.after_seq"]),
    ({"id": "x", "type": "follow", "turn_id": NOBODY, "after": "2"}, "x", ["body.after"]),
    ({"id": "x", "type": "ask", "conversation_id": NOBODY}, "x", ["body.turn"]),
    ({"id": "x", "type": "ask", "conversation_id": NOBODY, "turn": {"temprature": 1}}, "x", ["body.turn.temprature"]),
    (
        {"id": "x", "type": "ask", "conversation_id": NOBODY, "turn": {"content": "a"}, "idempotency_key": "é"},
        "x",
        ["body.idempotency_key"],
    ),
]


@pytest.mark.parametrize(("message", "id", "fields"), MALFORMED, ids=lambda value: str(value)[:50])
async def test_what_cannot_be_understood_is_told_and_the_socket_stays_open(
    live_url: str, ana: Person, message: Any, id: str | None, fields: list[str]
) -> None:
    async with connect(live_url, ana) as socket:
        await socket.send(message)
        answer = await socket.receive()
        assert (answer["type"], answer["status"], answer["code"]) == ("error", 422, "invalid")
        assert answer.get("id") == id
        assert [each["field"] for each in answer.get("fields", [])] == fields
        assert (await socket.ask("ping"))["type"] == "pong"


async def test_a_question_that_does_not_fit_names_the_place(live_url: str, ana: Person, conversation: str) -> None:
    async with connect(live_url, ana) as socket:
        answer = await socket.ask("ask", conversation_id=id_of(conversation), turn={"content": "Hi", "model": "gpt"})
        assert (answer["status"], answer["fields"][0]["field"]) == (422, "body.model")


async def test_a_long_message_is_read_and_a_longer_one_refused(live_url: str, ana: Person, conversation: str) -> None:
    content = "é" * 300_000
    async with connect(live_url, ana, max_size=None) as socket:
        turn = {"content": content}
        assert (await socket.ask("ask", conversation_id=id_of(conversation), turn=turn))["type"] == "asked"
        assert text_of(await socket.turn()) == content
        await socket.send({"id": "x", "type": "ask", "turn": {"content": "x" * 1024 * 1024}})
        refused = await socket.receive()
        assert (refused["status"], refused["code"]) == (413, "payload_too_large")
        assert (await socket.ask("ping"))["type"] == "pong"


async def test_a_much_too_large_message_ends_the_connection(live_url: str, ana: Person) -> None:
    async with connect(live_url, ana) as socket:
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            await socket.send("x" * 5 * 1024 * 1024)
            await socket.receive()
    async with connect(live_url, ana) as socket:
        assert (await socket.ask("ping"))["type"] == "pong"


async def test_a_fault_of_ours_is_told_with_its_request_and_logged_alone(
    live_url: str, ana: Person, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(requests: Requests, request: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Requests, "_ping", fail)
    async with connect(live_url, ana) as socket:
        answer = await socket.ask("ping")
        assert (answer["status"], answer["code"]) == (500, "internal_error")
        assert answer["request_id"] in answer["detail"]
        assert "secret" not in str(answer)
        assert (await socket.ask("unfollow", turn_id=NOBODY))["code"] == "not_found"
    assert f"request_id={answer['request_id']}" in re.sub(r"\x1b\[\d*m", "", "".join(capfd.readouterr()))


async def test_a_database_that_is_away_is_told_as_over_rest(
    live_url: str, ana: Person, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise AutoReconnect("no primary")

    members = {"conversation_id": id_of(conversation)}
    async with connect(live_url, ana) as socket:
        with monkeypatch.context() as broken:
            broken.setattr(ConversationRepository, "get", away)
            read = await socket.ask("subscribe", **members)
            written = await socket.ask("ask", **members, turn={"content": "Hi"})
        assert (read["status"], read["code"]) == (503, "unavailable")
        assert (written["status"], written["code"]) == (503, "outcome_unknown")
        assert (await socket.ask("subscribe", **members))["type"] == "subscribed"
