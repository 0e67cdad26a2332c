"""Who is asking, with which credential, and what they may see and do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from bson import ObjectId

from app.auth.permissions import PARTS, Permission, with_parts
from app.kit.errors import Forbidden
from app.kit.repository import Scope
from app.kit.resource import Resource
from app.limits.model import Quota
from app.limits.quotas import Payer
from app.users.model import Role

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    "user": with_parts(("read", "write", "export")),
    "analyst": with_parts(("read", "export")),
    "admin": with_parts(("read", "write", "export", "admin")),
}
ROLES_THAT_SEE_EVERYTHING: frozenset[Role] = frozenset({"analyst", "admin"})
Access = Literal["read", "write"]
"""What somebody else's row may be shared for."""
PRIVATE_RESOURCES = frozenset(
    {"keys", "sessions", "webhooks", "deliveries", "hooks", "exports", "export-schedules", "audit"}
)
"""Resources of which only admins see other people's rows."""
_SEEN_WITH: Mapping[str, Permission] = {"audit": "audit:read"}
"""Parts of `admin` that show everybody's rows of a private resource."""


@dataclass(frozen=True)
class Credential:
    """How somebody got in: with an API key, a token of one of our sessions, a password, or an issuer's token; or with
    none, because what they have asked for before runs now.

    `id`: of the key or of the session; the others have none. `quota`: what the key may use of language models.
    """

    kind: Literal["key", "session", "password", "issuer", "none"]
    id: ObjectId | None = None
    quota: Quota | None = None


@dataclass(frozen=True)
class Principal:
    """A user who came with a credential that counts, the same whichever; or in whose name something runs later.

    `permissions`: with all parts of those that have any.
    """

    user_id: ObjectId
    credential: Credential
    role: Role
    permissions: frozenset[Permission]

    @property
    def is_admin(self) -> bool:
        return "admin" in self.permissions

    @property
    def key_id(self) -> ObjectId | None:
        """The API key, if it was one."""
        return self.credential.id if self.credential.kind == "key" else None

    @property
    def session_id(self) -> ObjectId | None:
        """The session, if they came with its token."""
        return self.credential.id if self.credential.kind == "session" else None

    @property
    def payer(self) -> Payer:
        """Whose account the answers they ask for go to."""
        return Payer(self.user_id, self.key_id, self.credential.quota)

    @classmethod
    def on_behalf_of(cls, user: Mapping[str, Any]) -> "Principal | None":
        """Who a user is without any credential, for what runs later in their name; None when they are locked out."""
        if user["disabled"]:
            return None
        return cls(user["_id"], Credential("none"), user["role"], ROLE_PERMISSIONS[user["role"]])

    def scope(self, resource: Resource, shared: Access | None = None) -> Scope:
        """Which rows of the resource this principal may see: part of every query.

        `shared`: also those of others that are shared with them for this; without it their own.
        """
        if self._sees_everything_of(resource):
            return Scope(asker=self.user_id)
        own = {resource.owner_path: self.user_id}
        if resource.reader_path is None or resource.writer_path is None:
            return Scope(own, asker=self.user_id)
        seen = {"$or": [own, {resource.reader_path: self.user_id}]}
        match shared:
            case "read":
                return Scope(seen, asker=self.user_id)
            case "write":
                return Scope({"$or": [own, {resource.writer_path: self.user_id}]}, asker=self.user_id, seen=seen)
        return Scope(own, asker=self.user_id, seen=seen)

    def scope_of_shared(self, resource: Resource) -> Scope:
        """The rows of others that are shared with this principal, and nothing else. The resource can be shared."""
        return Scope({str(resource.reader_path): self.user_id}, asker=self.user_id)

    def _sees_everything_of(self, resource: Resource) -> bool:
        if self.is_admin or _SEEN_WITH.get(resource.name) in self.permissions:
            return True
        return self.role in ROLES_THAT_SEE_EVERYTHING and resource.name not in PRIVATE_RESOURCES

    def require(self, *permissions: Permission) -> None:
        """All of them are needed. Raises Forbidden, which names the first that is missing."""
        for each in permissions:
            if each not in self.permissions:
                raise Forbidden.lacking(each)

    def permitted(self, *permissions: Permission) -> "Principal":
        """The same, as far as they may do this: who changes something without the permission 'admin' sees only what is
        their own. Raises Forbidden."""
        self.require(*permissions)
        is_change = any(each == "write" or each in PARTS["write"] for each in permissions)
        return replace(self, role="user") if is_change and not self.is_admin else self

    def require_no_quota(self, what: str) -> None:
        """What would give somebody with a bounded key another credential, which has no bounds. Raises Forbidden."""
        if self.credential.quota is not None:
            raise Forbidden(f"A key with a quota {what}.")

    def require_whole_role(self, what: str) -> None:
        """What would give somebody whose credential may do less than they do another one without bounds.
        Raises Forbidden."""
        if self.permissions != ROLE_PERMISSIONS[self.role]:
            raise Forbidden(f"A credential that may do less than your role {what}.")

    def scope_of_accounts(self, users: Resource) -> Scope:
        """The users whose accounts they may change: with `users:admin` alone those who are no admins."""
        scope = self.scope(users)
        return scope if self.is_admin else Scope(scope.where({"role": {"$ne": "admin"}}), self.user_id, scope.filter)

    def owner_of_new(self, named: ObjectId | None) -> ObjectId:
        """Whose a new row is; only admins may name somebody else. Raises Forbidden."""
        if named is not None and named != self.user_id:
            self.require("admin")
        return named or self.user_id


@dataclass(frozen=True)
class Identified:
    """A principal, and until when the credential counts; None: until it is revoked."""

    principal: Principal
    expires_at: datetime | None = None
