"""What can be exported: the columns of a resource and, by name, those of the rows it belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from app.audit.resource import AUDIT
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.kit.resource import Column, Resource
from app.turns.resource import TURNS
from app.users.resource import USERS


@dataclass(frozen=True)
class Join:
    """Columns of the row that a row belongs to, such as `conversation.title` of a message.

    `name`: what stands before the dot. `by`: where a row holds the other one's id.
    """

    name: str
    by: str
    resource: Resource
    names: tuple[str, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The joined columns under the name of the join."""
        label = self.name.capitalize()
        known = self.resource.by_name
        return tuple(
            replace(known[name], name=f"{self.name}.{name}", label=f"{label}: {known[name].label}", nullable=True)
            for name in self.names
        )


@dataclass(frozen=True)
class Table:
    """A resource that can be exported, with its joins."""

    resource: Resource
    joins: tuple[Join, ...] = ()

    @property
    def name(self) -> str:
        return self.resource.name

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Every column that can be asked for, by its name."""
        joined = [column for join in self.joins for column in join.columns]
        return {column.name: column for column in (*self.resource.exported, *joined)}

    def choose(self, names: str | None) -> Sequence[Column]:
        """The columns of a comma-separated list, in its order; the resource's own without."""
        return self.resource.exported if names is None else [self.columns[name] for name in _listed(names)]

    def unknown(self, names: str | None) -> list[str]:
        """What of a comma-separated list is no column."""
        return [] if names is None else [name for name in _listed(names) if name not in self.columns]

    def joins_of(self, columns: Sequence[Column]) -> tuple[Join, ...]:
        """The joins that these columns need."""
        prefixes = {column.name.partition(".")[0] for column in columns}
        return tuple(join for join in self.joins if join.name in prefixes)


def _listed(names: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in names.split(",")))


OWNER = Join("owner", "owner_id", USERS, ("email", "name"))
_CONVERSATION = Join(
    "conversation",
    "conversation_id",
    CONVERSATIONS,
    (
        *("title", "model", "tags", "system_prompt", "metadata", "status"),
        *("last_message_at", "created_at", "updated_at"),
    ),
)
"""All that an import needs to make the conversation again."""

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table(USERS),
        Table(CONVERSATIONS, (OWNER,)),
        Table(MESSAGES, (_CONVERSATION, OWNER)),
        Table(TURNS, (_CONVERSATION, OWNER)),
        Table(AUDIT),
    )
}
"""What can be exported, by the resource's name."""
_NEEDED: Mapping[str, Permission] = {
    "users": "users:export",
    "conversations": "conversations:export",
    "messages": "conversations:export",
    "turns": "conversations:export",
    "audit": "users:export",
}


def require_export(principal: Principal, name: str) -> None:
    """That the credential may export the resource: a job runs without it, with all that its owner's role allows.
    Raises Forbidden."""
    if name not in TABLES:
        return  # which is refused for not being there
    principal.require(_NEEDED[name])
    if name == AUDIT.name and principal.role == "admin":  # who sees everybody's entries; others see their own
        principal.require("audit:read")
