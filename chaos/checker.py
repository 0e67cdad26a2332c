"""The proof: what clients were told against what is stored when everything is over; every difference is a sentence.

In the way of Jepsen: each write that was confirmed is stored, as it was confirmed; each that was attempted is stored at
most once; nothing else is stored. Messages of a conversation are numbered in an order in which they can have happened:
what began after another was confirmed comes behind it. What a reader was shown is stored. A file has every message that
was confirmed before it was asked for, none twice, each as it is stored.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from chaos.history import Append, Exported, History, Reading, Seen


@dataclass(frozen=True)
class Transcript:
    """A conversation as it is stored, its rows in any order. `last_seq`, `count`: what it says of itself."""

    rows: Sequence[Seen]
    last_seq: int
    count: int


@dataclass(frozen=True)
class Violation:
    kind: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"


Final = Mapping[str, Transcript]


def violations(history: History, final: Final) -> list[Violation]:
    """Everything that is not as it was promised."""
    return [Violation(kind, sentence) for kind, check in _CHECKS.items() for sentence in check(history, final)]


def _lost(history: History, final: Final) -> Iterator[str]:
    """Confirmed and not stored; or stored as something else than was confirmed."""
    stored = {row.id: row for row in _rows(final)}
    for append in history.appends:
        if append.ended is None:
            continue
        row = stored.get(append.id)
        if row is None:
            yield f"{append.content!r}, confirmed as number {append.seq} of {append.conversation}, is not stored"
        elif row != Seen(append.conversation, append.seq, append.id, append.content):
            yield f"{append.content!r} was confirmed as number {append.seq} of {append.conversation} and is {row}"


def _doubled(_: History, final: Final) -> Iterator[str]:
    for content, count in Counter(row.content for row in _rows(final)).items():
        if count > 1:
            yield f"{content!r} is stored {count} times"


def _foreign(history: History, final: Final) -> Iterator[str]:
    attempted = {(append.conversation, append.content) for append in history.appends}
    for row in _rows(final):
        if (row.conversation, row.content) not in attempted:
            yield f"nobody wrote {row}"


def _gaps(_: History, final: Final) -> Iterator[str]:
    for conversation, transcript in final.items():
        numbers = sorted(row.seq for row in transcript.rows)
        expected = list(range(1, len(numbers) + 1))
        if numbers != expected:
            at = next(number for number, wanted in zip(numbers, expected, strict=True) if number != wanted)
            yield f"{conversation} has {len(numbers)} messages that are not numbered without gaps, from {at} on"
        if (transcript.last_seq, transcript.count) != (len(numbers), len(numbers)):
            yield f"{conversation} has {len(numbers)} messages and says {transcript.last_seq}, {transcript.count}"


def _reordered(history: History, final: Final) -> Iterator[str]:
    """Numbered before something that was confirmed before it began."""
    attempts = {append.content: append for append in history.appends}
    for transcript in final.values():
        rows = sorted(transcript.rows, key=lambda row: row.seq, reverse=True)
        known = [(attempts[row.content], row.id) for row in rows if row.content in attempts]
        first: Append | None = None  # of those with higher numbers, the one that was confirmed first
        for append in (append for append, id in known if append.id in {"", id}):
            if first is not None and _end(first) < append.started:
                yield f"{append.content!r} began after {first.content!r} was confirmed, and is numbered before it"
            first = append if first is None or _end(append) < _end(first) else first


def _unseen(history: History, final: Final) -> Iterator[str]:
    stored = {row.id: row for row in _rows(final)}
    for reading in history.readings:
        for row in reading.rows:
            if stored.get(row.id) != row:
                yield f"a reader was shown {row}, stored is {stored.get(row.id)}"
        if any(newer.seq != older.seq + 1 for newer, older in pairwise(reading.rows)):
            yield f"a reader of {reading.conversation} was shown {[row.seq for row in reading.rows]}"


def _incomplete(history: History, final: Final) -> Iterator[str]:
    confirmed = _confirmed(history)
    stored = {row.id: row for row in _rows(final)}
    for export in history.exports:
        yield from (f"{export.how}: {sentence}" for sentence in _in_export(export, confirmed, stored))


def _in_export(
    export: Exported, confirmed: Mapping[str, Sequence[Append]], stored: Mapping[str, Seen]
) -> Iterator[str]:
    ids = Counter(row.id for row in export.rows)
    due = [each for name in export.conversations for each in confirmed[name] if _end(each) < export.started]
    missing = [append.content for append in due if append.id not in ids]
    if missing:
        yield f"{len(missing)} of {len(due)} messages that were confirmed before are missing, such as {missing[0]!r}"
    if doubled := [id for id, count in ids.items() if count > 1]:
        yield f"{len(doubled)} messages come more than once, such as {doubled[0]}"
    if other := [row for row in export.rows if stored.get(row.id) != row]:
        yield f"{len(other)} rows are not as they are stored, such as {other[0]}"
    if export.claimed is not None and export.claimed != len(export.rows):
        yield f"it says {export.claimed} rows and has {len(export.rows)}"
    if not export.is_intact:
        yield "its hash is another one than was promised"


def stale(history: History) -> list[Reading]:
    """Readings that do not show what was confirmed before they began: no loss, but worth knowing. A primary that was
    cut off answers so until it notices."""
    confirmed = _confirmed(history)

    def is_stale(reading: Reading) -> bool:
        newest = max((row.seq for row in reading.rows), default=0)
        due = (each.seq for each in confirmed[reading.conversation] if _end(each) < reading.started)
        return max(due, default=0) > newest

    return [reading for reading in history.readings if is_stale(reading)]


def _confirmed(history: History) -> Mapping[str, Sequence[Append]]:
    confirmed: dict[str, list[Append]] = defaultdict(list)
    for append in history.appends:
        if append.ended is not None:
            confirmed[append.conversation].append(append)
    return confirmed


def _end(append: Append) -> float:
    return inf if append.ended is None else append.ended


def _rows(final: Final) -> Iterator[Seen]:
    return (row for transcript in final.values() for row in transcript.rows)


_CHECKS: Mapping[str, Callable[[History, Final], Iterator[str]]] = {
    "lost": _lost,
    "doubled": _doubled,
    "reordered": _reordered,
    "gap": _gaps,
    "foreign": _foreign,
    "unseen": _unseen,
    "incomplete": _incomplete,
}
KINDS = tuple(_CHECKS)
"""What can be wrong; `foreign`: nobody has written it, `unseen`: a reader was shown what is not stored,
`incomplete`: an export."""
