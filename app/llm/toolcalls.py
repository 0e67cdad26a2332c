"""Puts the pieces of tool calls together, however a server cuts them."""

import secrets
from dataclasses import dataclass, field

from app.llm.answer import well_formed
from app.llm.provider import ToolCall
from app.llm.wire import CallPiece

MAX_CALLS = 128


@dataclass
class _Call:
    position: int | None
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class ToolCallPieces:
    """The tool calls of one answer: at most `MAX_CALLS`, together at most `max_bytes` of UTF-8.

    What does not fit sets `is_full`, and the call it belonged to is left out. A piece belongs to the call of its index;
    without one, to the call of its id, else to the last one. A new id together with a name begins a new call even
    under an index that is in use: some servers count every call as 0. A call without an id is given one, and one
    without a name is no call.
    """

    def __init__(self, max_bytes: int) -> None:
        self.is_full = False
        self._room = max_bytes
        self._calls: list[_Call] = []

    def take(self, piece: CallPiece) -> None:
        if self.is_full:
            return
        call = self._find(piece)
        is_new = call is None
        call = call or _Call(piece.position, "", "")
        added = self._add(call, piece)
        self._room -= len(added.encode("utf-8", "surrogatepass"))
        self.is_full = self._room < 0 or (is_new and len(self._calls) == MAX_CALLS)
        if not self.is_full and is_new:
            self._calls.append(call)
        elif self.is_full and not is_new:
            self._calls.remove(call)

    def end(self) -> tuple[ToolCall, ...]:
        """The calls in the order in which they began, each with an id of its own."""
        calls: dict[str, ToolCall] = {}
        for each in self._calls:
            id = well_formed(each.id)
            if not id or id in calls:
                id = f"call_{secrets.token_hex(12)}"
            if each.name:
                calls[id] = ToolCall(id, well_formed(each.name), well_formed("".join(each.arguments)))
        return tuple(calls.values())

    def _find(self, piece: CallPiece) -> _Call | None:
        newest_first = reversed(self._calls)
        if piece.position is not None:
            found = next((each for each in newest_first if each.position == piece.position), None)
        elif piece.id:
            found = next((each for each in newest_first if each.id == piece.id), None)
        else:
            found = next(newest_first, None)
        if found is None:
            return None
        is_another = bool(piece.name and found.name) and (
            piece.id != found.id if piece.id else piece.position is None and piece.name != found.name
        )
        return None if is_another else found

    @staticmethod
    def _add(call: _Call, piece: CallPiece) -> str:
        """What is new in `piece`."""
        added = piece.arguments
        if not call.id:
            call.id = piece.id
            added += piece.id
        if not call.name:
            call.name = piece.name
            added += piece.name
        if piece.is_whole:
            call.arguments.clear()
        call.arguments.append(piece.arguments)
        return added
