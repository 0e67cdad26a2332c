"""What clients saw against what is stored: every difference as a sentence.

The database is read directly, when nothing runs any more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from tests.faults.followers import View
from tests.faults.stories import text_of

Row = dict[str, Any]

MESSAGE_STATUSES = {"completed": "complete", "failed": "failed", "cancelled": "cancelled", "interrupted": "interrupted"}
"""The status of an answer, by the state of its turn."""


@dataclass
class Stored:
    """All that is stored of conversations, by id; `log`: the text of each logged event, by turn and number."""

    conversations: dict[ObjectId, Row]
    messages: dict[ObjectId, Row]
    turns: dict[ObjectId, Row]
    log: dict[tuple[ObjectId, int], str | None]

    @classmethod
    async def read(cls, database: AsyncDatabase[Row]) -> "Stored":
        async def rows(collection: str) -> dict[ObjectId, Row]:
            return {row["_id"]: row async for row in database[collection].find(batch_size=1000)}

        log = {
            (row["_id"]["turn_id"], row["_id"]["seq"]): row.get("text")
            async for row in database["turn_events"].find(batch_size=1000)
        }
        return cls(await rows("conversations"), await rows("messages"), await rows("turns"), log)

    def question(self, turn: Row) -> str:
        return str(self.messages[turn["user_message_id"]]["content"])


def differences(stored: Stored, views: list[View], asked: Counter[str]) -> list[str]:
    """Everything that is not as it was promised. `asked`: what the upstream was asked, how often."""
    return [
        *(fault for conversation in stored.conversations.values() for fault in _in_conversation(stored, conversation)),
        *(fault for turn in stored.turns.values() for fault in _in_turn(stored, turn)),
        *(fault for view in views for fault in _in_view(stored, view)),
        *_between_views(views),
        *_in_counts(stored, views, asked),
    ]


def _in_conversation(stored: Stored, conversation: Row) -> Iterator[str]:
    name = conversation["title"]
    numbers = sorted(each["seq"] for each in stored.messages.values() if each["conversation_id"] == conversation["_id"])
    if numbers != list(range(1, conversation["last_seq"] + 1)):
        yield f"{name}: last_seq is {conversation['last_seq']} and the messages have {numbers}"
    if conversation["message_count"] != len(numbers):
        yield f"{name}: message_count is {conversation['message_count']} and there are {len(numbers)} messages"
    if conversation["active_turn_id"] is not None:
        yield f"{name}: still held by turn {conversation['active_turn_id']}"


def _in_turn(stored: Stored, turn: Row) -> Iterator[str]:
    question, answer = stored.question(turn), stored.messages[turn["assistant_message_id"]]
    name = f"turn {turn['_id']} of {question!r}"
    expected = MESSAGE_STATUSES.get(turn["state"])
    if expected is None:
        yield f"{name}: stuck as {turn['state']}"
    elif answer["status"] not in {expected, "superseded"}:
        yield f"{name}: {turn['state']}, but its answer is {answer['status']}"
    whole = text_of(question)
    if turn["state"] == "completed" and answer["content"] != whole:
        yield f"{name}: completed, but its answer is {_difference(answer['content'], whole)}"
    if not whole.startswith(answer["content"]):
        yield f"{name}: stored what the model never said: {_difference(answer['content'], whole)}"


def _in_view(stored: Stored, view: View) -> Iterator[str]:
    name = f"{view.call.method} {view.call.path} of {view.question!r}"
    turn = stored.turns.get(ObjectId(view.turn_id)) if view.turn_id else None
    if turn is None:
        yield f"{name}: its turn {view.turn_id!r} is not stored"
        return
    content = stored.messages[turn["assistant_message_id"]]["content"]
    if stored.question(turn) != view.question:
        yield f"{name}: its turn belongs to {stored.question(turn)!r}"
    if view.end != f"turn.{turn['state']}":
        yield f"{name}: ended as {view.end!r}, stored is {turn['state']}"
    if view.text != content:
        yield f"{name}: {view.end}, stored is {_difference(content, view.text)}"
    logged = [(event.id, stored.log.get((turn["_id"], event.id))) for event in view.events[1:]]
    if logged != [(event.id, event.data.get("text")) for event in view.events[1:]]:
        yield f"{name}: saw other events than were logged"
    if view.is_over and view.events[-1].data["assistant_message"]["content"] != content:
        yield f"{name}: the last event carries another text than is stored"


def _between_views(views: list[View]) -> Iterator[str]:
    """Whoever follows a turn sees the same events under the same numbers."""
    first: dict[str, View] = {}
    for view in views:
        other = first.setdefault(view.turn_id, view)
        if _numbered(view) != _numbered(other):
            yield f"{view.call.path} and {other.call.path} of {view.question!r} saw different events"


def _numbered(view: View) -> list[Any]:
    return [(event.id, event.event, event.data["text"] if event.event == "delta" else "") for event in view.events]


def _in_counts(stored: Stored, views: list[View], asked: Counter[str]) -> Iterator[str]:
    """Each question is stored once, has a turn for each time it was asked, and cost at most so many requests."""
    questions = Counter(each["content"] for each in stored.messages.values() if each["role"] == "user")
    turns = Counter(stored.question(turn) for turn in stored.turns.values())
    begun = defaultdict(set)
    for view in views:
        if view.call.method == "POST":
            begun[view.question].add((view.call.path, view.call.headers["Idempotency-Key"]))
    for question in sorted(questions.keys() | begun.keys() | asked.keys()):
        counts = (questions[question], turns[question])
        if counts != (1, len(begun[question])):
            yield f"{question!r}: begun {len(begun[question])} times, stored {counts[0]} times with {counts[1]} turns"
        if asked[question] > turns[question]:
            yield f"{question!r}: {turns[question]} turns, but {asked[question]} requests to the model"


def _difference(text: str, expected: str) -> str:
    """Where a text leaves the expected one."""
    common = next((i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b), None)
    at = min(len(text), len(expected)) if common is None else common
    return f"{len(text)} characters for {len(expected)}, different from {at}: {text[at : at + 60]!r}"
