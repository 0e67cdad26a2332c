"""What is true of a transcript after whatever happened to it, and how long that took."""

from bson import ObjectId

from app.kit.repository import EVERYTHING, Row
from app.services import Services


def report(what: str, milliseconds: list[float]) -> None:
    ordered = sorted(milliseconds)
    median, last = ordered[len(ordered) // 2], ordered[-1]
    print(f"\n{what}: p50 {median:.1f} ms, p95 {ordered[len(ordered) * 95 // 100]:.1f} ms, max {last:.1f} ms", end="")


async def transcript(services: Services, id: str) -> list[Row]:
    """All stored messages in order; fails unless their numbers are 1 to N and the conversation agrees."""
    conversation = await services.conversations.rows.get(EVERYTHING, ObjectId(id))
    rows = services.conversations.messages.collection
    messages = await rows.find({"conversation_id": ObjectId(id)}, sort=[("seq", 1)]).to_list()
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert conversation["last_seq"] == conversation["message_count"] == len(messages)
    return messages
