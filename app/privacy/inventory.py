"""Every collection of the database: whose rows it holds, what of them a person is handed, what stays, and why.

`docs/decisions/privacy.md` shows it; a test sees to it that no collection is missing, and no field that names a user.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from beanie import Document
from bson import ObjectId

from app.audit.model import AuditEntry
from app.auth.model import ApiKey
from app.auth.session_model import RefreshToken, Session
from app.auth.signing import SigningKey
from app.auth.throttle import LoginAttempts
from app.conversations.model import Conversation, Message
from app.conversations.share_model import Revocation, ShareLink
from app.exports.model import ExportJob, ExportSchedule
from app.imports.model import ImportJob
from app.jobs.model import FileChunk
from app.kit.idempotency import IdempotencyRecord
from app.kit.repository import Row
from app.limits.model import RateCount, Spending
from app.privacy.model import Erasure, Hold, RetentionPolicy
from app.rooms.model import Presence
from app.search.model import SearchBlock, SearchIndex, SearchKeys, SearchRemoved, SearchSegment
from app.turns.model import Turn, TurnEvents, Worker
from app.users.model import User
from app.webhooks.model import Delivery, Hook, RelayState, Webhook

Filter = Mapping[str, Any]

_INTERNAL = "how the server works"
_SECRET = "a secret, or the hash of one"  # noqa: S105
_HOLD = "legal holds are for admins"


def _unchanged(row: Row, _: ObjectId) -> Row:
    return row


def _without_others(row: Row, user_id: ObjectId) -> Row:
    """An entry about an act of somebody else says neither from where they came nor by what means."""
    if row["actor_id"] == user_id:
        return row
    return {**row, "address": None, "credential": None, "credential_id": None, "request_id": None}


@dataclass(frozen=True)
class Holding:
    """A collection. `of`: which of its rows are a user's; None: it holds nothing of anybody.

    `left_out`: why these rows are not handed out; empty when they are, all fields but the `withheld` ones (each with
    its reason). `stays`: why an erasure leaves them; empty when it removes them. `shown`: a row as it is handed out.
    """

    document: type[Document]
    of: Callable[[ObjectId], Filter] | None = None
    withheld: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""
    stays: str = ""
    shown: Callable[[Row, ObjectId], Row] = _unchanged

    @property
    def name(self) -> str:
        return self.document.get_pymongo_collection().name

    @property
    def is_exported(self) -> bool:
        return self.of is not None and not self.left_out

    @property
    def projection(self) -> dict[str, int]:
        """All that is stored and not withheld."""
        names = {"_id" if name == "id" else name for name in self.document.model_fields}
        return dict.fromkeys(sorted(names - set(self.withheld) - {"revision_id"}), 1)


def _by(path: str) -> Callable[[ObjectId], Filter]:
    return lambda user_id: {path: user_id}


def spending_of(whose: str, id: ObjectId) -> Filter:
    """The sums of a user or of a key, of all periods."""
    return {"_id": {"$gte": f"{whose}:{id}@", "$lt": f"{whose}:{id}A"}}


_JOB = {"worker": _INTERNAL, "not_before": _INTERNAL}
_OF_A_CONVERSATION = "reached through its conversation or job, and removed with it"

INVENTORY: tuple[Holding, ...] = (
    Holding(
        User,
        _by("_id"),
        {"password_hash": _SECRET, "epoch": _INTERNAL, "admin_lock": _INTERNAL, "hold_id": _HOLD},
    ),
    Holding(ApiKey, _by("user_id"), {"hash": _SECRET}),
    Holding(Session, _by("user_id"), {"epoch": _INTERNAL}),
    Holding(RefreshToken, _by("user_id"), left_out=_SECRET),
    Holding(
        Conversation,
        _by("owner_id"),
        {
            "active_turn_id": _INTERNAL,
            "waiting_turn_ids": _INTERNAL,
            "transition": _INTERNAL,
            "arrived_at": _INTERNAL,
            "purging_at": _INTERNAL,
            "hold_id": _HOLD,
        },
    ),
    Holding(Message, _by("owner_id")),
    Holding(ShareLink, _by("owner_id"), {"hash": _SECRET}),
    Holding(Turn, _by("owner_id"), {"worker": _INTERNAL, "fingerprint": _INTERNAL}),
    Holding(ExportJob, _by("owner_id"), {**_JOB, "position": _INTERNAL}),
    Holding(ExportSchedule, _by("owner_id")),
    Holding(ImportJob, _by("owner_id"), _JOB),
    Holding(Webhook, _by("owner_id"), {"secrets": _SECRET, "active_from": _INTERNAL}),
    Holding(
        Delivery,
        _by("owner_id"),
        {"body": "repeats rows that are here, and of an admin's webhook those of others", "claim": _INTERNAL},
    ),
    Holding(Hook, _by("owner_id"), {"secret": _SECRET}),
    Holding(
        AuditEntry,
        lambda user_id: {"$or": [{"actor_id": user_id}, {"subject_id": user_id}]},
        stays="who did what must be known afterwards; entries name people by ids, and end after VERBATIM_AUDIT_DAYS",
        shown=_without_others,
    ),
    Holding(
        IdempotencyRecord,
        lambda user_id: {"owner": str(user_id)},
        left_out="answers of the last 24 hours, which repeat rows that are here",
    ),
    Holding(
        Spending,
        lambda user_id: spending_of("user", user_id),
        left_out="sums of turns that are here, for quotas; they end with their month",
    ),
    Holding(Revocation, _by("user_id"), left_out="what is shared no more, told to the servers for 24 hours"),
    Holding(RateCount, left_out="counters of requests, which end with their minute"),
    Holding(Presence, _by("user_id"), left_out="who follows a conversation at this moment"),
    Holding(Hold, _by("placed_by"), left_out=_HOLD, stays="a hold outlives the admin who placed it"),
    Holding(
        Erasure,
        _by("requested_by"),
        left_out="receipts about others",
        stays="the receipt says by an id who asked",
    ),
    Holding(TurnEvents, left_out=f"pieces of messages, kept for 24 hours; {_OF_A_CONVERSATION}"),
    Holding(FileChunk, left_out=f"files of exports and imports, at /api/exports/{{id}}/file; {_OF_A_CONVERSATION}"),
    Holding(SearchIndex, left_out=_INTERNAL),
    Holding(SearchSegment, left_out="an index made of the messages"),
    Holding(SearchBlock, left_out="an index made of the messages, from which removed ones are scrubbed"),
    Holding(SearchKeys, left_out="an index made of the messages"),
    Holding(SearchRemoved, left_out="which messages are to be scrubbed from the index"),
    Holding(LoginAttempts, left_out="counters under the hash of an e-mail, which end within VERBATIM_LOGIN_WINDOW"),
    Holding(SigningKey, left_out=_SECRET),
    Holding(RelayState, left_out=_INTERNAL),
    Holding(Worker, left_out=_INTERNAL),
    Holding(RetentionPolicy, left_out="rules of the deployment"),
)
EXPORTED = tuple(each for each in INVENTORY if each.is_exported)
