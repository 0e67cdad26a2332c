"""On whose behalf a task runs: set where a request, a command or a process begins, and read where something is done.

It travels in a context variable, as the request's id does in the logs, so that no service has to hand it on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from bson import ObjectId

ActorKind = Literal["user", "anonymous", "command", "system"]
ACTOR_KINDS: tuple[ActorKind, ...] = ("user", "anonymous", "command", "system")


@dataclass(frozen=True)
class Actor:
    """`user`: somebody with a credential; `anonymous`: a request without one, such as signing in or a signed hook;
    `command`: who runs `verbatim` on the server; `system`: the server by itself."""

    kind: ActorKind
    id: ObjectId | None = None
    credential: str | None = None
    credential_id: ObjectId | None = None
    address: str | None = None
    request_id: str | None = None


_SYSTEM = Actor("system")
_actor: ContextVar[Actor] = ContextVar("actor", default=_SYSTEM)


def current_actor() -> Actor:
    """Who this task acts for."""
    return _actor.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """What is done inside is this actor's."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)
