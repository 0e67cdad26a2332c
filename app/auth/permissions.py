"""What a credential may do: all scopes that there are, in one table.

A scope such as `read` is all of its parts, those that are added later as well; a part is good for one kind of thing.
Nothing else is implied: who may write does not therefore read.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

Permission = Literal[
    "read",
    "conversations:read",
    "users:read",
    "stats:read",
    "imports:read",
    "keys:read",
    "sessions",
    "webhooks:read",
    "write",
    "conversations:write",
    "conversations:share",
    "turns:write",
    "users:write",
    "imports:write",
    "keys:write",
    "webhooks:write",
    "export",
    "conversations:export",
    "users:export",
    "exports:read",
    "exports:write",
    "admin",
    "users:admin",
    "audit:read",
    "privacy:read",
    "privacy:write",
    "metrics:read",
]

WHOLES: Mapping[Permission, str] = {
    "read": "see what you may see",
    "write": "change what is yours",
    "export": "take it away as files",
    "admin": "everything, of everybody",
}
PARTS: Mapping[Permission, Mapping[Permission, str]] = {
    "read": {
        "conversations:read": "see and search conversations, their messages and turns, and follow them live",
        "users:read": "see users and profiles",
        "stats:read": "see figures of messages and of what models have used",
        "imports:read": "see imports and what was wrong with their rows",
        "keys:read": "see API keys, without their secrets",
        "sessions": "see where you are signed in, and sign out there",
        "webhooks:read": "see webhooks, their deliveries and inbound hooks",
    },
    "write": {
        "conversations:write": "make, change and remove conversations and messages",
        "conversations:share": "share conversations with others and by link, so that they can be read that way",
        "turns:write": "have models answer, which costs, and cancel that",
        "users:write": "change yourself and your profile",
        "imports:write": "bring in conversations from files",
        "keys:write": "make API keys that may do no more, and revoke yours",
        "webhooks:write": "have other systems told, of what this credential may read, and let them post",
    },
    "export": {
        "conversations:export": "conversations, messages and turns as files",
        "users:export": "users and their personal data as files",
        "exports:read": "see your export jobs and download their files, whatever is in them",
        "exports:write": "begin, plan, cancel and remove export jobs of what this credential may export",
    },
    "admin": {
        "users:admin": "make, change and remove accounts of those who are no admins",
        "audit:read": "see the audit log, of everybody",
        "privacy:read": "see legal holds, receipts of erasures and retention policies",
        "privacy:write": "set legal holds and retention policies",
        "metrics:read": "read the metrics",
    },
}
MEANINGS: Mapping[Permission, str] = {
    **WHOLES,
    **{part: text for parts in PARTS.values() for part, text in parts.items()},
}
"""Each scope with what it allows: those with parts first."""
PERMISSIONS: tuple[Permission, ...] = tuple(MEANINGS)


def with_parts(named: Iterable[Permission]) -> frozenset[Permission]:
    """These scopes and all that they imply."""
    return frozenset(each for scope in named for each in (scope, *PARTS.get(scope, ())))


def in_short(permissions: Iterable[Permission]) -> list[Permission]:
    """The fewest scopes that imply the same, in the order of the table."""
    named = frozenset(permissions)
    implied = frozenset(part for whole in WHOLES if whole in named for part in PARTS[whole])
    return [each for each in PERMISSIONS if each in named - implied]
