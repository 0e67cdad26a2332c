"""Every error a client can be told about, as one tree.

VerbatimError
├── Invalid 422                 what was sent cannot be used; `fields` names the places at fault
│   ├── InvalidPattern          a regular expression the server refuses
│   ├── InvalidCursor           a cursor from another list, or an edited one
│   ├── QueryTooExpensive       the search did not end within its budget
│   └── IdempotencyKeyReused    the same key came with another request
├── Unauthenticated 401         no credential, or one that is not known
├── WrongSignature 401          a message of another server that is not signed as it must be
├── Forbidden 403               known, but not allowed to do this
├── NotFound 404                absent, or not yours: both look the same
├── Conflict 409                the request contradicts the stored state
│   └── TurnInProgress          the conversation is being answered right now
├── PreconditionFailed 412      If-Match names another version; `current` holds the stored one
├── PayloadTooLarge 413         a body or document over its limit
├── UrlTooLong 414              an address over its limit
├── RangeNotSatisfiable 416     the part of the file that was asked for lies behind its end
├── HeadersTooLarge 431         headers over their limit
├── TooManyLogins 429           passwords were tried too often, right or wrong; says when to retry
├── TooManySearches 429         searches that read rows take turns, and this one's did not come; says when to retry
├── TooManyRequests 429         more requests than anybody may send in a minute; says when to retry
├── TooManyStreams 429          so many streams of this user are open here already
├── QuotaExceeded 429           the tokens or the money of a day or a month are used up; says when there is more
├── TooManyJobs 429             so many jobs of this user are unfinished already
├── Unavailable 503             cannot be served now; says when to retry
│   └── OutcomeUnknown          a write that may or may not have happened: retry with the same key
└── UpstreamFailed 502          the language model's server failed

Each class has a status, a stable code and a title; an instance adds one sentence for this occasion. A face renders
them in its own dialect; no other module knows a status code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

CHALLENGE = 'Bearer realm="verbatim"'
"""How to get in, as a WWW-Authenticate header says it (RFC 6750)."""


@dataclass(frozen=True)
class FieldError:
    """One place at fault: where (`body`, `query`, `path`, `header`, then the dotted field) and one sentence."""

    field: str
    message: str


class VerbatimError(Exception):
    """An error with a status, a code and a sentence that may be shown to the client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(
        self,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """`detail`: one sentence for this occasion; `members`: further members of the problem document."""
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.members = members


class Invalid(VerbatimError):
    status = 422
    code = "invalid"
    title = "The request cannot be understood"

    def __init__(self, detail: str = "", *, fields: Sequence[FieldError] = (), **members: Any) -> None:
        if fields:
            members["fields"] = [{"field": each.field, "message": each.message} for each in fields]
        super().__init__(detail, **members)

    @classmethod
    def field(cls, field: str, message: str, **members: Any) -> "Invalid":
        """An error about one place, which is named in the sentence too."""
        return cls(f"{field}: {message}", fields=[FieldError(field, message)], **members)

    @classmethod
    def of(cls, faults: Sequence[FieldError]) -> "Invalid":
        """An error that names all of these places, in the sentence too."""
        return cls("; ".join(f"{each.field}: {each.message}" for each in faults), fields=faults)


class InvalidPattern(Invalid):
    code = "invalid_pattern"
    title = "The pattern is not a valid regular expression"


class InvalidCursor(Invalid):
    code = "invalid_cursor"
    title = "The cursor does not belong to this list"


class QueryTooExpensive(Invalid):
    code = "query_too_expensive"
    title = "The query needs more time than it may take; narrow it with filters"


class IdempotencyKeyReused(Invalid):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used with another request"


class Unauthenticated(VerbatimError):
    status = 401
    code = "unauthenticated"
    title = "Send an API key or a token: Authorization: Bearer <key>"

    def __init__(self, detail: str = "", **members: Any) -> None:
        """With a sentence, which must hold no quotes, a credential came and does not count; without, none came."""
        error = f', error="invalid_token", error_description="{detail}"' if detail else ""
        super().__init__(detail, headers={"WWW-Authenticate": f"{CHALLENGE}{error}"}, **members)


class WrongSignature(VerbatimError):
    status = 401
    code = "wrong_signature"
    title = "The message is not signed with a secret of this hook, or not within five minutes of now"

    def __init__(self, detail: str = "", **members: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Webhook-Signature realm="verbatim"'}, **members)


class Forbidden(VerbatimError):
    status = 403
    code = "forbidden"
    title = "Your credential or role does not allow this"

    @classmethod
    def lacking(cls, permission: str) -> "Forbidden":
        """An error about one permission, which is named as RFC 6750 has it."""
        challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{permission}"'
        sentence = f"This needs the permission '{permission}', which your credential or role does not have."
        return cls(sentence, headers={"WWW-Authenticate": challenge})


class NotFound(VerbatimError):
    status = 404
    code = "not_found"
    title = "There is nothing here"


class Conflict(VerbatimError):
    status = 409
    code = "conflict"
    title = "The request contradicts the stored state"


class TurnInProgress(Conflict):
    code = "turn_in_progress"
    title = "The conversation is being answered right now"


class PreconditionFailed(VerbatimError):
    status = 412
    code = "precondition_failed"
    title = "The stored version is another one"


class PayloadTooLarge(VerbatimError):
    status = 413
    code = "payload_too_large"
    title = "This is larger than the limit"


class RangeNotSatisfiable(VerbatimError):
    status = 416
    code = "range_not_satisfiable"
    title = "The file ends before the part that you ask for"


class UrlTooLong(VerbatimError):
    status = 414
    code = "url_too_long"
    title = "The address is longer than the limit"


class HeadersTooLarge(VerbatimError):
    status = 431
    code = "headers_too_large"
    title = "The headers are larger than the limit"


class TooManyLogins(VerbatimError):
    status = 429
    code = "too_many_logins"
    title = "Passwords were tried too often; wait before you try again"

    def __init__(self, detail: str = "", *, retry_after: int = 1, **members: Any) -> None:
        """`retry_after`: whole seconds until a new attempt makes sense."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class TooManySearches(VerbatimError):
    status = 429
    code = "too_many_searches"
    title = "Too many searches or summaries that read much run at the same time; wait for yours to end, then ask again"

    def __init__(self, detail: str = "", *, retry_after: int = 1, **members: Any) -> None:
        """`retry_after`: whole seconds until a new attempt makes sense."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class TooManyJobs(VerbatimError):
    status = 429
    code = "too_many_jobs"
    title = "Too many of your jobs are unfinished; wait for one to end, or cancel it"

    def __init__(self, detail: str = "", *, retry_after: int = 10, **members: Any) -> None:
        """`retry_after`: whole seconds until a new attempt makes sense."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class TooManyRequests(VerbatimError):
    status = 429
    code = "too_many_requests"
    title = "You send more requests than one may in a minute; wait, and send fewer at a time"

    def __init__(self, detail: str = "", *, retry_after: int = 1, **members: Any) -> None:
        """`retry_after`: whole seconds until a new attempt makes sense."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class TooManyStreams(VerbatimError):
    status = 429
    code = "too_many_streams"
    title = "Too many of your streams are open here; close one"

    def __init__(self, detail: str = "", *, retry_after: int = 5, **members: Any) -> None:
        """`retry_after`: whole seconds until a new attempt makes sense."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class QuotaExceeded(VerbatimError):
    status = 429
    code = "quota_exceeded"
    title = "What you may use of language models is used up"

    def __init__(self, detail: str = "", *, retry_after: int = 3600, **members: Any) -> None:
        """`retry_after`: whole seconds until there is more."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class UpstreamFailed(VerbatimError):
    status = 502
    code = "upstream_failed"
    title = "The language model's server failed"


class Unavailable(VerbatimError):
    status = 503
    code = "unavailable"
    title = "The service cannot answer right now"

    def __init__(self, detail: str = "", *, retry_after: int = 1, **members: Any) -> None:
        """`retry_after`: whole seconds until a new attempt makes sense."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class OutcomeUnknown(Unavailable):
    code = "outcome_unknown"
    title = "The write may or may not have happened; retry it with the same Idempotency-Key"
