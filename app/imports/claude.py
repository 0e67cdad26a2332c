"""Claude's export: an array of conversations, each with its messages in order.

Where messages name their parents only the branch is read that was shown last: up to `current_leaf_message_uuid`, or to
the newest leaf. Thoughts become the reasoning, tools their calls and answers; the text of a pasted attachment stands
behind the words, other files as a reference in brackets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.imports.answers import Answered, Called, Said, Step, Thought, build_answer, dump
from app.imports.fields import RefusedError
from app.imports.items import Object, as_list, as_object, text_of
from app.imports.records import ImportedConversation, ImportedMessage, build_conversation, build_message
from app.imports.trees import branch

_ROLES = {"human": "user", "user": "user", "assistant": "assistant"}


def conversation(item: Object, position: int) -> ImportedConversation:
    """The conversation of an item of the array; raises RefusedError."""
    listed = [as_object(each, "A message") for each in as_list(item.get("chat_messages"), "The messages")]
    return build_conversation(
        position,
        source_id=item.get("uuid") or item.get("conversation_id"),
        title=item.get("name"),
        tags=None,
        messages=[message for each in _shown(listed, item) for message in _messages(each)],
        created_at=item.get("created_at"),
        more={"model": item.get("model")},
    )


def _shown(listed: list[Object], item: Object) -> list[Object]:
    """The messages of the branch that was shown last; all of them where nothing says how they hang together."""
    by_id = {text_of(each, "uuid"): each for each in listed}
    if len(by_id) < len(listed) or not any(_parent(each, by_id) for each in listed):
        return listed
    # The first one's parent is an id of zeros, which is no message.
    parents = {id: _parent(each, by_id) for id, each in by_id.items()}
    numbers = {id: float(number) for number, id in enumerate(by_id)}
    return [by_id[id] for id in branch(parents, item.get("current_leaf_message_uuid"), numbers.__getitem__)]


def _parent(message: Object, by_id: Mapping[str, Object]) -> str | None:
    parent = message.get("parent_message_uuid")
    return parent if isinstance(parent, str) and parent in by_id else None


def _messages(message: Object) -> list[ImportedMessage]:
    role = _ROLES.get(text_of(message, "sender"))
    if role is None:
        raise RefusedError(f"The sender {message.get('sender')!r} of a message is none of {', '.join(_ROLES)}")
    blocks = [as_object(each, "A block") for each in as_list(message.get("content"), "The blocks")]
    steps = [step for number, block in enumerate(blocks) for step in _steps(block, number)]
    if not any(isinstance(step, Said) and step.text for step in steps) and text_of(message, "text"):
        steps.append(Said(text_of(message, "text")))
    steps += [Said(words) for words in _files(message)]
    if role == "assistant":
        return build_answer(steps, {"created_at": message.get("created_at"), "model": message.get("model")})
    words = "\n\n".join(step.text for step in steps if isinstance(step, Said) and step.text)
    return [build_message(role, words, created_at=message.get("created_at"))] if words else []


def _steps(block: Object, number: int) -> Iterator[Step]:
    kind = block.get("type")
    if kind == "text":
        yield Said(text_of(block, "text"))
    elif kind == "thinking":
        yield Thought(text_of(block, "thinking"))
    elif kind == "tool_use":
        yield Called(text_of(block, "id") or f"call-{number}", text_of(block, "name") or "tool", block.get("input"))
    elif kind == "tool_result":
        # Older exports do not say which call it answers: it is the block before.
        yield Answered(text_of(block, "tool_use_id") or f"call-{number - 1}", _result(block.get("content")))
    elif kind != "token_budget":
        yield Said(text_of(block, "text") or dump(block))


def _result(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return dump(content)
    return "\n".join(text_of(each, "text") or dump(each) if isinstance(each, dict) else str(each) for each in content)


def _files(message: Object) -> Iterator[str]:
    for each in as_list(message.get("attachments"), "The attachments"):
        attachment = as_object(each, "An attachment")
        name, words = text_of(attachment, "file_name"), text_of(attachment, "extracted_content")
        yield "\n".join(part for part in (f"[attachment: {name}]" if name or not words else "", words) if part)
    for each in as_list(message.get("files"), "The files"):
        if name := text_of(as_object(each, "A file"), "file_name"):
            yield f"[file: {name}]"
