"""Answers with what people thought of them, as TRL's KTO trainer reads them: a rated answer a line, no pair needed."""

from collections.abc import Iterator

from app.exports.training.answers import History, questions
from app.exports.training.messages import as_chat, as_trl
from app.exports.training.model import Line, Omission, TrainingOptions, Transcript


def make_trl_feedback(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"prompt": [...], "completion": [...], "label": true, "tools": [...]}; true is a rating up."""
    history = History(transcript, options)
    is_any = False
    for question in questions(transcript.messages):
        asked = question.row
        for row in (each for each in question.answers if each.get("feedback")):
            is_any = True
            if fault := history.fault_of_question(asked) or history.fault_of_answer(asked, row):
                yield Omission("answer", fault, row["seq"])
                continue
            prompt, tools = as_trl(history.prompt(asked)), history.tools(row)
            line = {"prompt": prompt, "completion": as_trl([as_chat(row)]), "label": row["feedback"]["rating"] == "up"}
            yield {**line, "tools": tools} if tools else line
    if not is_any:
        yield Omission("conversation", "unrated" if transcript.messages else "empty")
