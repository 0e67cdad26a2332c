"""LibreChat's export: one conversation, its messages in a list with `parentMessageId`, or in each other (`recursive`).

Of several branches the one with the newest leaf is read; the export does not say which was shown. Thoughts become the
reasoning, tools their calls and answers.
"""

from collections.abc import Iterator, Mapping

from app.imports.answers import Answered, Called, Said, Step, Thought, build_answer, dump
from app.imports.fields import RefusedError, instant
from app.imports.items import Object, as_list, as_object, text_of
from app.imports.records import ImportedConversation, ImportedMessage, build_conversation, build_full_message
from app.imports.trees import branch

_RATINGS = {"thumbsUp": "up", "thumbsDown": "down"}


def conversation(item: Object, position: int) -> ImportedConversation:
    """The conversation of the file; raises RefusedError."""
    options = as_object(item.get("options") or {}, "The options")
    listed = item.get("messagesTree") if item.get("messagesTree") is not None else item.get("messages")
    shown = _shown(list(_flattened(as_list(listed, "The messages"))))
    model = text_of(options, "model")
    return build_conversation(
        position,
        source_id=item.get("conversationId"),
        title=item.get("title"),
        tags=item.get("tags"),
        messages=[message for each in shown for message in _messages(each, model)],
        created_at=item.get("createdAt") or next((each.get("createdAt") for each in shown), None),
        more={"system_prompt": options.get("promptPrefix"), "model": model or None},
    )


def _flattened(listed: list[object]) -> Iterator[tuple[str, Object]]:
    """Every message with its id, whose parent is the one it stands in, if it stands in one."""
    waiting: list[tuple[Object, str | None]] = [(as_object(each, "A message"), None) for each in reversed(listed)]
    while waiting:
        message, parent = waiting.pop()
        id = text_of(message, "messageId")
        yield id, message if parent is None else {**message, "parentMessageId": parent}
        children = as_list(message.get("children"), "The children")
        waiting += [(as_object(child, "A message"), id) for child in reversed(children)]


def _shown(found: list[tuple[str, Object]]) -> list[Object]:
    by_id = dict(found)
    if len(by_id) < len(found):
        raise RefusedError("Two of the messages have the same messageId, or none")
    # The first one's parent is an id of zeros, which is no message.
    parents = {id: _parent(each, by_id) for id, each in by_id.items()}
    return [by_id[id] for id in branch(parents, None, lambda id: _created(by_id[id]))]


def _parent(message: Object, by_id: Mapping[str, Object]) -> str | None:
    parent = message.get("parentMessageId")
    return parent if isinstance(parent, str) and parent in by_id else None


def _created(message: Object) -> float:
    created = instant(message.get("createdAt"))
    return float("-inf") if created is None else created.timestamp()


def _messages(message: Object, model: str) -> list[ImportedMessage]:
    shared = {"created_at": message.get("createdAt")}
    steps = [step for part in as_list(message.get("content"), "The content") for step in _steps(part)]
    if not any(isinstance(step, Said) and step.text for step in steps) and text_of(message, "text"):
        steps.append(Said(text_of(message, "text")))
    if message.get("isCreatedByUser") is True:
        words = "\n\n".join(step.text for step in steps if isinstance(step, Said) and step.text)
        return [build_full_message({**shared, "role": "user", "content": words})] if words else []
    answered = {
        "model": message.get("model") or model or None,
        "provider": message.get("endpoint"),
        "status": _status(message),
        "finish_reason": message.get("finish_reason"),
        "feedback": _feedback(message.get("feedback")),
    }
    return build_answer(steps, {**shared, **answered})


def _status(message: Object) -> str:
    if message.get("error") is True:
        return "failed"
    return "interrupted" if message.get("unfinished") is True else "complete"


def _feedback(value: object) -> Object | None:
    rating = _RATINGS.get(text_of(value, "rating")) if isinstance(value, dict) else None
    return None if rating is None else {"rating": rating, "comment": text_of(as_object(value, ""), "text") or None}


def _steps(value: object) -> Iterator[Step]:
    part = as_object(value, "A part of the content")
    kind, inner = part.get("type"), part.get("text")
    if kind == "text":
        yield Said(text_of(inner, "value") if isinstance(inner, dict) else text_of(part, "text"))
    elif kind == "think":
        yield Thought(text_of(part, "think"))
    elif kind == "tool_call":
        call = as_object(part.get("tool_call"), "The call of a tool")
        id = text_of(call, "id") or "call"
        yield Called(id, text_of(call, "name") or "tool", call.get("args"))
        if text_of(call, "output"):
            yield Answered(id, text_of(call, "output"))
    else:
        yield Said(text_of(part, "text", "error") or dump(part))
