"""Open WebUI's export: an array of chats, each a tree of messages of which the shown branch is read.

Where a message tells what the model did (`output`), thoughts become the reasoning and tools their calls and answers;
elsewhere its content is taken as it is.
"""

from collections.abc import Iterator, Mapping

from app.imports.answers import Answered, Called, Said, Step, Thought, build_answer, dump
from app.imports.items import Object, as_list, as_object, text_of
from app.imports.records import ImportedConversation, ImportedMessage, build_conversation, build_full_message
from app.imports.trees import branch

_RATINGS = {1: "up", -1: "down"}
_MILLISECONDS = 1e11
"""Of the two units in use: seconds are below, until the year 5138."""


def conversation(item: Object, position: int) -> ImportedConversation:
    """The conversation of an item of the array; raises RefusedError."""
    chat = as_object(item.get("chat"), "The chat")
    params, meta = as_object(chat.get("params") or {}, "The params"), as_object(item.get("meta") or {}, "The meta")
    models = [each for each in as_list(chat.get("models"), "The models") if isinstance(each, str)]
    return build_conversation(
        position,
        source_id=item.get("id") or chat.get("id"),
        title=item.get("title") or chat.get("title"),
        tags=meta.get("tags") or chat.get("tags"),
        messages=[message for each in _shown(chat) for message in _messages(each)],
        created_at=_seconds(item.get("created_at") or chat.get("timestamp")),
        more={
            "system_prompt": params.get("system") or chat.get("system"),
            "model": models[0] if len(models) == 1 else None,
            "status": "archived" if item.get("archived") is True else "active",
        },
    )


def _seconds(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value / 1000 if is_number and value > _MILLISECONDS else value  # type: ignore[operator]


def _shown(chat: Object) -> list[Object]:
    history = as_object(chat.get("history") or {}, "The history")
    messages = as_object(history.get("messages") or {}, "The messages")
    if not messages:
        return [as_object(each, "A message") for each in as_list(chat.get("messages"), "The messages")]
    by_id = {id: as_object(each, "A message") for id, each in messages.items()}
    parents = {id: _parent(each, by_id) for id, each in by_id.items()}
    return [by_id[id] for id in branch(parents, history.get("currentId"), lambda id: _timestamp(by_id[id]))]


def _parent(message: Object, by_id: Mapping[str, Object]) -> str | None:
    parent = message.get("parentId")
    return parent if isinstance(parent, str) and parent in by_id else None


def _timestamp(message: Object) -> float:
    time = message.get("timestamp")
    return time if isinstance(time, int | float) else float("-inf")


def _messages(message: Object) -> list[ImportedMessage]:
    shared = {"created_at": _seconds(message.get("timestamp"))}
    if message.get("role") != "assistant":
        values = {**shared, "role": message.get("role"), "content": message.get("content")}
        return [build_full_message(values)]
    steps = [step for each in as_list(message.get("output"), "The output") for step in _steps(each)]
    answered = {
        "model": message.get("model"),
        "usage": _usage(message.get("usage") or message.get("info")),
        "status": _status(message),
        "feedback": _feedback(message.get("annotation")),
    }
    return build_answer(steps or [Said(_words(message))], {**shared, **answered})


def _words(message: Object) -> str:
    error = message.get("error")
    reason = text_of(error, "content", "message") if isinstance(error, dict) else ""
    return text_of(message, "content") or reason or " "


def _status(message: Object) -> str:
    if message.get("error"):
        return "failed"
    return "interrupted" if message.get("done") is False else "complete"


def _usage(value: object) -> Object | None:
    """Tokens by OpenAI's names or Ollama's."""
    if not isinstance(value, dict):
        return None
    prompt, completion = (
        next((value[name] for name in names if isinstance(value.get(name), int)), None)
        for names in (("prompt_tokens", "prompt_eval_count"), ("completion_tokens", "eval_count"))
    )
    if prompt is None or completion is None:
        return None
    return {"prompt": prompt, "completion": completion, "total": prompt + completion}


def _feedback(value: object) -> Object | None:
    rating = value.get("rating") if isinstance(value, dict) else None
    if not isinstance(rating, int) or rating not in _RATINGS:
        return None
    return {"rating": _RATINGS[rating], "comment": text_of(as_object(value, ""), "comment") or None}


def _steps(value: object) -> Iterator[Step]:
    part = as_object(value, "A part of the output")
    kind = part.get("type")
    if kind == "message":
        yield Said(_joined(part.get("content")))
    elif kind == "reasoning":
        yield Thought(_joined(part.get("content")) or _joined(part.get("summary")))
    elif kind == "function_call":
        yield Called(text_of(part, "call_id", "id") or "call", text_of(part, "name") or "tool", part.get("arguments"))
    elif kind == "function_call_output":
        output = part.get("output")
        yield Answered(text_of(part, "call_id", "id") or "call", output if isinstance(output, str) else _joined(output))
    else:
        yield Said(dump(part))


def _joined(value: object) -> str:
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    return "\n".join(text_of(each, "text") or dump(each) if isinstance(each, dict) else str(each) for each in parts)
