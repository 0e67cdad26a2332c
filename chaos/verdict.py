"""What a run proves: all that is not as it was promised, and what each fault has cost."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bson import ObjectId

from chaos.checker import KINDS, Transcript, Violation, stale, violations
from chaos.faults import BACK, FAULTS, RECOVERY
from chaos.figures import Episode, Figures, Lag, figures_of
from chaos.history import History, Seen
from tests.faults.audit import Stored, differences
from tests.faults.followers import View

CALM = "calm"
"""The episode before the first fault, to compare with."""
PROMISES = (*KINDS, "stream", "failed", "process", "stuck")
"""What may not be found; `stream`: what was streamed is not what is stored, or a turn came twice; `failed`: a request
that should not have; `process`: a server that ended or met an error by itself; `stuck`: no recovery."""


@dataclass(frozen=True)
class Evidence:
    """All that is known when a run is over. `transcripts`: the conversations that were only appended to; `questions`:
    how often the model was asked each."""

    began: float
    episodes: Sequence[Episode]
    history: History
    views: Sequence[View]
    transcripts: Sequence[str]
    stored: Stored
    questions: Counter[str]
    lag: Lag
    processes: Sequence[str]


@dataclass(frozen=True)
class Verdict:
    """`stale`: readings that lacked what was confirmed before they began."""

    seconds: float
    history: History
    views: Sequence[View]
    figures: Sequence[Figures]
    violations: Sequence[Violation]
    stale: int

    @property
    def missed(self) -> list[str]:
        """Goals of time that were not reached."""
        return [sentence for each in self.figures if each.fault != CALM for sentence in _missed(each)]


def judge(evidence: Evidence) -> Verdict:
    history = evidence.history
    figures = [figures_of(each, history, evidence.lag, evidence.began, BACK) for each in evidence.episodes]
    found = [
        *violations(history, {path: _transcript(evidence.stored, path) for path in evidence.transcripts}),
        *(Violation("stream", sentence) for sentence in _in_streams(evidence)),
        *(Violation("failed", sentence) for sentence in _refused(history, evidence.episodes)),
        *(Violation("process", sentence) for sentence in evidence.processes),
        *(Violation("stuck", f"{each.fault}: {each.error}") for each in evidence.episodes if each.error),
    ]
    seconds = time.monotonic() - evidence.began
    return Verdict(seconds, history, evidence.views, figures, found, len(stale(history)))


def _transcript(stored: Stored, path: str) -> Transcript:
    id = _id(path)
    rows = [
        Seen(path, row["seq"], str(row["_id"]), row["content"])
        for row in stored.messages.values()
        if row["conversation_id"] == id
    ]
    conversation = stored.conversations.get(id, {})
    return Transcript(rows, conversation.get("last_seq", 0), conversation.get("message_count", 0))


def _in_streams(evidence: Evidence) -> Iterator[str]:
    """What is wrong with turns: each word as it was said, once, in its place, and shown as it is stored."""
    appended = {_id(path) for path in evidence.transcripts}
    stored = replace(
        evidence.stored,
        conversations={id: row for id, row in evidence.stored.conversations.items() if id not in appended},
        messages={id: row for id, row in evidence.stored.messages.items() if row["conversation_id"] not in appended},
    )
    for view in evidence.views:
        yield from view.faults
    yield from differences(stored, list(evidence.views), evidence.questions)


def _id(path: str) -> ObjectId:
    return ObjectId(path.rpartition("/")[2])


def _refused(history: History, episodes: Sequence[Episode]) -> Iterator[str]:
    """Requests that failed while none had to."""
    excused = [(each.started, each.ended) for each in episodes if each.fault != CALM and FAULTS[each.fault].may_fail]
    for request in history.requests:
        if not request.failure or request.kind == "turn":
            continue
        is_excused = any(request.started < until and request.ended > since for since, until in excused)
        if not is_excused or request.failure.startswith("500"):
            during = [each.fault for each in episodes if each.started <= request.ended <= each.ended]
            took = request.ended - request.started
            yield f"{request.kind} during {', '.join(during)}, after {took:.1f} s: {request.failure}"


def _missed(figures: Figures) -> Iterator[str]:
    goal, back = FAULTS[figures.fault].stall, figures.back_after
    if goal is not None and figures.stall > goal:
        yield f"{figures.fault}: no write was confirmed for {figures.stall:.1f} s; {goal:g} are the goal"
    if goal is None and (back is None or back > RECOVERY):
        after = "never" if back is None else f"{back:.1f} s after the set was back"
        yield f"{figures.fault}: the next write was confirmed {after}; {RECOVERY:g} s are the goal"
