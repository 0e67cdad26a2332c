"""What was measured: the one table that `verbatim capacity` reckons with, and that docs/scale-out.md shows.

Measured by `python -m bench scale` on real transcripts. Bytes on disk are WiredTiger's with snappy, in files that were
just written. Milliseconds are of CPU, on two busy cores: newer and idle ones take about half.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Figure:
    """A number, its unit, and what it is of."""

    value: float
    unit: str
    meaning: str


@dataclass(frozen=True)
class Figures:
    message_bytes: Figure = Figure(419, "bytes", "a message as BSON without its text; half are answers")
    message_disk: Figure = Figure(84, "bytes", "the same on disk: field names and nulls compress well")
    text_disk: Figure = Figure(0.64, "", "bytes on disk for each byte of text")
    message_index_bytes: Figure = Figure(504, "bytes", "its entries in 22 indexes")
    turn_bytes: Figure = Figure(776, "bytes", "a turn as BSON")
    turn_disk: Figure = Figure(120, "bytes", "the same on disk")
    turn_index_bytes: Figure = Figure(570, "bytes", "its entries in 19 indexes")
    conversation_bytes: Figure = Figure(1010, "bytes", "a conversation as BSON, with the windows of its title")
    conversation_disk: Figure = Figure(300, "bytes", "the same on disk")
    conversation_index_bytes: Figure = Figure(2475, "bytes", "its entries in 21 indexes")
    user_bytes: Figure = Figure(1049, "bytes", "a user as BSON, with the windows of name and e-mail")
    user_disk: Figure = Figure(162, "bytes", "the same on disk")
    user_index_bytes: Figure = Figure(1438, "bytes", "their entries in 14 indexes")
    event_bytes: Figure = Figure(106, "bytes", "an event of a turn's log as BSON without its text; kept for a day")
    event_disk: Figure = Figure(24, "bytes", "the same on disk")
    event_index_bytes: Figure = Figure(85, "bytes", "its entries in 2 indexes")
    events_a_second: Figure = Figure(24.3, "", "events of a turn's log for each second from its first token on")
    search_documents: Figure = Figure(0.02, "", "documents of the index of messages for each message")
    search_bytes: Figure = Figure(1.41, "", "bytes of the index of messages, as BSON, for each byte of text")
    search_disk: Figure = Figure(1.08, "", "its bytes on disk, indexes included, for each byte of text")
    search_oplog: Figure = Figure(1.53, "", "bytes in the oplog for each byte of text that is indexed once")
    mark_oplog: Figure = Figure(185, "bytes", "in the oplog for each message, to mark it as indexed")
    segment_messages: Figure = Figure(1000, "", "messages of the smallest segment")
    merged_at_once: Figure = Figure(8, "", "segments that become one: as often is a message indexed anew")
    turn_oplog_bytes: Figure = Figure(2850, "bytes", "a turn in the oplog without its text and its events")
    event_oplog_bytes: Figure = Figure(458, "bytes", "an event in the oplog without its text")
    characters_a_second: Figure = Figure(250, "", "characters of a model's answer: 50 tokens in English")
    first_token_seconds: Figure = Figure(1.0, "seconds", "until a model's first token; nobody's measure, models differ")
    measured_characters: Figure = Figure(600, "", "characters of the answers that turns were measured with")
    turn_api_ms: Figure = Figure(33.1, "ms", "CPU of a server for a streamed turn of 100 tokens, 16 at once")
    turn_mongod_ms: Figure = Figure(23.8, "ms", "CPU of the primary for it")
    read_api_ms: Figure = Figure(
        1.6, "ms", "CPU of a server for a read: a conversation, lists of 20, a transcript's 50"
    )
    read_mongod_ms: Figure = Figure(0.57, "ms", "CPU of the primary for it")
    indexing_ms: Figure = Figure(0.2, "ms", "CPU of whoever builds the index, for each message")


FIGURES = Figures()


def named() -> dict[str, Figure]:
    """All of them by their names."""
    return {each.name: getattr(FIGURES, each.name) for each in fields(FIGURES)}
