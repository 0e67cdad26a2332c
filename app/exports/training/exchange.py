"""The messages of a transcript that may stand in a line: the exchange as it was last, up to the first fault.

Superseded messages are no part of the exchange. A fault is a message that breaks a rule of the format; what comes
before it can still be a line. A rule is a code of `REASONS` and a question about the message that would come next.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from app.exports.training.model import MIN_RATINGS, Line, Omission, TrainingOptions, Transcript
from app.exports.training.tools import MAX_TOOLS, definitions, tools_tokens
from app.kit.repository import Row
from app.llm.history import estimate_tokens

MESSAGE_TOKENS = 4
"""What a message costs beside its text, in the chat formats that are known."""

_CUT_OFF = frozenset({"length", "content_filter"})
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass
class State:
    """What is known when a message comes: of the ones before it, and of the message itself."""

    budget: int
    previous: str | None = None
    open_calls: set[str] = field(default_factory=set)
    has_question: bool = False
    tokens: int = 0
    is_learned: bool = True


Rule = tuple[str, Callable[[State, Row], bool]]


@dataclass(frozen=True)
class Fault:
    """Which rule a message breaks; `seq` is its number."""

    code: str
    seq: int | None


@dataclass(frozen=True)
class Step:
    """A message of the exchange. `tokens`: of everything up to it. `is_learned`: an answer that may be learned from.
    `is_open`: a tool call before it waits for its answer."""

    row: Row
    tokens: int
    is_learned: bool
    is_open: bool

    @property
    def can_end(self) -> bool:
        """Whether a line may end with it: an answer to learn from, all calls being over."""
        return self.row["role"] == "assistant" and self.is_learned and not self.is_open


@dataclass(frozen=True)
class Exchange:
    """The system prompt, the messages up to the first fault, and that fault."""

    system: str | None
    steps: Sequence[Step]
    fault: Fault | None


def is_blank(text: str) -> bool:
    return not text or text.isspace()


def is_unfinished(row: Row) -> bool:
    """Whether an answer is not all that the model wanted to say.

    A superseded one does not show how it ended any more: then a generated one was finished if there is a reason why.
    """
    if row["status"] == "superseded":
        is_generated = row.get("turn_id") is not None or row.get("provider") is not None
        stopped = row.get("error") is not None or (is_generated and row.get("finish_reason") is None)
    else:
        stopped = row["status"] != "complete"
    return stopped or row.get("finish_reason") in _CUT_OFF


def is_broken(calls: Sequence[Row]) -> bool:
    """Whether a call could not be made: its id is not its own, or it is no function with an object of arguments."""
    ids = {call["id"] for call in calls}
    return len(ids) < len(calls) or not all(_is_call(call["function"]) for call in calls)


def _is_call(function: Row) -> bool:
    if not _NAME.fullmatch(function["name"]):
        return False
    try:
        return isinstance(orjson.loads(function["arguments"]), dict)
    except orjson.JSONDecodeError:
        return False


def says_nothing(row: Row) -> bool:
    return is_blank(row["content"]) and not row.get("tool_calls")


RULES: tuple[Rule, ...] = (
    ("unknown_kind", lambda _, row: row.get("kind", "message") != "message"),
    ("unfinished_answer", lambda _, row: is_unfinished(row)),
    ("unasked_result", lambda state, row: row["role"] == "tool" and row.get("tool_call_id") not in state.open_calls),
    ("unanswered_call", lambda state, row: row["role"] != "tool" and bool(state.open_calls)),
    ("no_question", lambda state, row: row["role"] == "assistant" and not state.has_question),
    ("consecutive_answers", lambda state, row: row["role"] == state.previous == "assistant"),
    ("empty_content", lambda _, row: says_nothing(row)),
    ("broken_call", lambda _, row: is_broken(row.get("tool_calls") or ())),
    ("too_long", lambda state, row: state.tokens + message_tokens(row) > state.budget),
)
"""The rules of every format, in the order in which they are asked."""


def message_tokens(row: Row) -> int:
    """About how many tokens a message has, with its calls."""
    functions = [call["function"] for call in row.get("tool_calls") or ()]
    texts = [row["content"], *(text for each in functions for text in (each["name"], each["arguments"]))]
    return MESSAGE_TOKENS + sum(map(estimate_tokens, texts))


def read_exchange(transcript: Transcript, options: TrainingOptions, rules: Sequence[Rule] = RULES) -> Exchange:
    """The exchange by these rules."""
    prompt = transcript.conversation.get("system_prompt") or ""
    system = None if is_blank(prompt) or not options.include_system else prompt
    tools = definitions(transcript.tools)
    state = State(options.max_tokens, tokens=tools_tokens(tools))
    if system is not None:
        state.previous = "system"
        state.tokens += MESSAGE_TOKENS + estimate_tokens(system)
    if len(tools) > MAX_TOOLS:
        return Exchange(system, [], Fault("too_many_tools", None))
    steps: list[Step] = []
    for row, rank in _ranked(transcript.messages):
        if row["role"] == "system" and not options.include_system:
            continue
        state.is_learned = rank >= MIN_RATINGS.index(options.min_rating)
        code = next((code for code, applies in rules if applies(state, row)), None)
        if code is not None:
            return Exchange(system, steps, Fault(code, row["seq"]))
        steps.append(_step(state, row))
    return Exchange(system, steps, None if transcript.is_whole else Fault("too_long", None))


def _step(state: State, row: Row) -> Step:
    """The message as part of the exchange, which `state` knows of from now on."""
    state.previous = row["role"]
    state.has_question = state.has_question or row["role"] == "user"
    state.tokens += message_tokens(row)
    state.open_calls.discard(row.get("tool_call_id") or "")
    state.open_calls.update(call["id"] for call in row.get("tool_calls") or ())
    return Step(row, state.tokens, state.is_learned, bool(state.open_calls))


def _ranked(messages: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """The messages of the exchange with their answers' ratings, as places in `MIN_RATINGS`.

    A message that calls tools and was not rated itself has the rating of the answer it led to.
    """
    kept = [row for row in messages if row["status"] != "superseded"]
    ranks: list[int] = []
    following = rank_of(None)
    for row in reversed(kept):
        if row["role"] == "assistant":
            if row.get("feedback") or not row.get("tool_calls"):
                following = rank_of(row.get("feedback"))
        elif row["role"] == "user":
            following = rank_of(None)
        ranks.append(following if row["role"] == "assistant" else len(MIN_RATINGS))
    return zip(kept, reversed(ranks), strict=True)


def rank_of(feedback: Row | None) -> int:
    """The place of a rating in `MIN_RATINGS`."""
    return MIN_RATINGS.index(feedback["rating"] if feedback else "unrated")


def beginning(exchange: Exchange, render: Callable[[Sequence[Step]], Line]) -> Iterator[Line | Omission]:
    """The longest beginning of the exchange that may be a line, rendered, and why the rest is not in it."""
    steps = exchange.steps
    end = max((index for index, step in enumerate(steps, start=1) if step.can_end), default=0)
    if end:
        yield render(steps[:end])
    fault = _why_no_more(exchange, steps[end:])
    if fault is not None:
        yield Omission("rest" if end else "conversation", fault.code, fault.seq)


def _why_no_more(exchange: Exchange, rest: Sequence[Step]) -> Fault | None:
    unlearned = next((step for step in rest if not step.is_learned), None)
    if unlearned is not None:
        return Fault("rating", unlearned.row["seq"])
    if exchange.fault is not None:
        return exchange.fault
    if rest:
        return Fault("unanswered_call" if rest[-1].is_open else "no_answer", rest[-1].row["seq"])
    return None if exchange.steps else Fault("empty", None)
