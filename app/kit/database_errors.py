"""What the driver's and BSON's exceptions mean to a client. One table, used at the edge."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from bson.errors import BSONError, InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

from app.kit.errors import (
    Conflict,
    FieldError,
    Invalid,
    InvalidPattern,
    OutcomeUnknown,
    PayloadTooLarge,
    QueryTooExpensive,
    Unavailable,
    VerbatimError,
)

Translation = Callable[[Any], VerbatimError]

UNSTORABLE = (OverflowError, UnicodeEncodeError, InvalidDocument, BSONError)
"""What BSON raises for values it cannot hold."""


def translate(error: Exception, *, is_write: bool) -> VerbatimError | None:
    """The client's error, or None when it is a fault of ours. `is_write`: whether the request could change anything."""
    if isinstance(error, BulkWriteError):
        error = _first_of(error)
    if isinstance(error, OperationFailure) and (by_code := _BY_CODE.get(error.code or 0)):
        return OutcomeUnknown() if is_write and error.timeout else by_code(error)
    if isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError"):
        return Unavailable("The transaction met too many conflicts; retry.")
    if getattr(error, "timeout", False) or isinstance(error, AutoReconnect) or _is_interrupted(error):
        if is_write and not isinstance(error, WaitQueueTimeoutError | ServerSelectionTimeoutError):
            return OutcomeUnknown()
        return Unavailable("The database has no primary that answers right now; retry.", retry_after=2)
    if isinstance(error, UNSTORABLE):
        return _unstorable(error)
    return None


def _is_interrupted(error: Exception) -> bool:
    """Whether a primary was lost over it: it may stay, if a majority gets it, or be rolled back."""
    if isinstance(error, WriteConcernError):
        return True
    if not isinstance(error, OperationFailure):
        return False
    return error.code in _PRIMARY_LOST or error.has_error_label("UnknownTransactionCommitResult")


def _first_of(bulk: BulkWriteError) -> OperationFailure:
    """The write that stopped an ordered bulk, as it would have failed alone; why it is not confirmed when none did; the
    bulk itself when there is neither."""
    details = bulk.details or {}
    faults = details.get("writeErrors")
    if not faults:
        unconfirmed = details.get("writeConcernErrors")
        return WriteConcernError(unconfirmed[0].get("errmsg", ""), unconfirmed[0].get("code")) if unconfirmed else bulk
    kind = DuplicateKeyError if faults[0]["code"] == 11000 else OperationFailure
    return kind(faults[0].get("errmsg", ""), faults[0]["code"], faults[0])


def _unstorable(error: Exception) -> VerbatimError:
    if isinstance(error, DocumentTooLarge):
        return PayloadTooLarge("The document is larger than the database can store (16 MiB).")
    return Invalid("A value cannot be stored: a number over 64 bits, or text that is not Unicode.")


def duplicate(error: DuplicateKeyError) -> Conflict:
    """409 naming the field that has to be unique."""
    keys = (error.details or {}).get("keyPattern") or _keys_in_message(str(error))
    field = next((name for name in keys if name not in {"owner_id", "_id"}), "id")
    return Conflict(
        f"{field}: this value is taken already.", fields=[{"field": f"body.{field}", "message": "is taken already"}]
    )


def _keys_in_message(message: str) -> list[str]:
    """Field names from the index name, for servers that do not send the key pattern."""
    index = re.search(r"index: (\S+)", message)
    return [re.sub(r"_-?1$", "", index.group(1))] if index else []


def _pattern(error: OperationFailure) -> VerbatimError:
    message = str((error.details or {}).get("errmsg", ""))
    reason = message.rpartition("Invalid Regex in $regexMatch: ")[2] or "it cannot be compiled"
    return InvalidPattern(f"q: {reason}", fields=[FieldError("query.q", reason)])


def _too_expensive(_: OperationFailure) -> VerbatimError:
    return QueryTooExpensive()


_PRIMARY_LOST = frozenset((6, 7, 89, 91, 134, 189, 211, 262, 9001, 10107, 11600, 11602, 13435, 13436))
"""It steps down, shuts down, cannot be reached by a majority, or has just started (211: it does not know yet the keys
by which clients tell the time)."""

_BY_CODE: Mapping[int, Translation] = {
    27: lambda _: Unavailable("The text index is missing; start the server again with VERBATIM_TEXT_SEARCH=true."),
    50: _too_expensive,
    292: _too_expensive,  # a sort that does not fit the server's memory
    112: lambda _: Unavailable("Another write changed the same document; retry."),
    239: lambda _: QueryTooExpensive("This took longer than the database keeps its snapshot; sort by created_at."),
    10334: lambda _: PayloadTooLarge("The document is larger than the database can store (16 MiB)."),
    11000: duplicate,
    51091: _pattern,
    51111: _pattern,
    51156: lambda _: QueryTooExpensive("The pattern is too complex for a text it met; make it simpler."),
}
