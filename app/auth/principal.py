"""Who is asking, and what they may see and do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from app.auth.model import Permission
from app.kit.errors import Forbidden
from app.kit.repository import Scope
from app.kit.resource import Resource
from app.users.model import Role

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    "user": frozenset({"read", "write", "export"}),
    "analyst": frozenset({"read", "export"}),
    "admin": frozenset({"read", "write", "export", "admin"}),
}
ROLES_THAT_SEE_EVERYTHING: frozenset[Role] = frozenset({"analyst", "admin"})
PRIVATE_RESOURCES = frozenset({"keys", "webhooks", "deliveries", "hooks", "exports", "export-schedules"})
"""Resources of which only admins see other people's rows."""


@dataclass(frozen=True)
class Principal:
    """A user who came with a valid key, or in whose name something runs later, without one."""

    user_id: ObjectId
    key_id: ObjectId | None
    role: Role
    permissions: frozenset[Permission]

    @property
    def is_admin(self) -> bool:
        return "admin" in self.permissions

    @classmethod
    def on_behalf_of(cls, user: Mapping[str, Any]) -> "Principal | None":
        """Who a user is without any key, for what runs later in their name; None when they are locked out."""
        if user["disabled"]:
            return None
        return cls(user["_id"], None, user["role"], ROLE_PERMISSIONS[user["role"]])

    def scope(self, resource: Resource) -> Scope:
        """Which rows of the resource this principal may see: part of every query."""
        sees_everything = self.is_admin or (
            self.role in ROLES_THAT_SEE_EVERYTHING and resource.name not in PRIVATE_RESOURCES
        )
        return Scope({} if sees_everything else {resource.owner_path: self.user_id}, asker=self.user_id)

    def require(self, permission: Permission) -> None:
        """Raises Forbidden."""
        if permission not in self.permissions:
            raise Forbidden(f"This needs the permission '{permission}', which your key or role does not have.")

    def as_writer(self) -> "Principal":
        """The same, seeing only what they may change: without the permission 'admin' that is their own.
        Raises Forbidden."""
        self.require("write")
        return self if self.is_admin else replace(self, role="user")

    def owner_of_new(self, named: ObjectId | None) -> ObjectId:
        """Whose a new row is; only admins may name somebody else. Raises Forbidden."""
        if named is not None and named != self.user_id:
            self.require("admin")
        return named or self.user_id
