"""Conversations taken together by how many messages they have."""

from collections.abc import Iterator, Sequence

from app.kit.repository import Row


def grouped_by_messages(conversations: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """The rows in order, in groups of at most `most` messages; a longer conversation is a group of its own."""
    group: list[Row] = []
    messages = 0
    for row in conversations:
        if group and messages + row["message_count"] > most:
            yield group
            group, messages = [], 0
        group.append(row)
        messages += row["message_count"]
    if group:
        yield group
