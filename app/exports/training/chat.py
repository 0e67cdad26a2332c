"""OpenAI's format of supervised fine-tuning: a conversation a line, in the shape of chat completions.

An answer that is rated too low to learn from stays, with `weight` 0: what follows makes sense only after it.
"""

from collections.abc import Iterator, Sequence

from app.exports.training.exchange import Step, beginning, read_exchange
from app.exports.training.messages import chat_messages
from app.exports.training.model import Line, Omission, TrainingOptions, Transcript
from app.exports.training.tools import definitions


def make_chat(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"messages": [...], "tools": [...]}."""
    exchange = read_exchange(transcript, options)

    def render(steps: Sequence[Step]) -> Line:
        messages = chat_messages(exchange.system, [step.row for step in steps])
        for message, step in zip(messages[-len(steps) :], steps, strict=True):
            if not step.is_learned:
                message["weight"] = 0
        tools = definitions(transcript.tools, up_to=steps[-1].row["seq"])
        return {"messages": messages, **({"tools": tools} if tools else {})}

    return beginning(exchange, render)
