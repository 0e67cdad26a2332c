"""What a principal may see: the filter that is part of every query."""

import pytest
from bson import ObjectId

from app.audit.resource import AUDIT
from app.auth.permissions import PERMISSIONS, Permission, in_short, with_parts
from app.auth.principal import ROLE_PERMISSIONS, Credential, Principal
from app.auth.resource import KEYS
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.kit.errors import Forbidden
from app.kit.repository import EVERYTHING, Scope
from app.kit.resource import Resource
from app.turns.resource import TURNS
from app.users.model import ROLES, Role
from app.users.resource import USERS

ME, OTHER = ObjectId(), ObjectId()
OWN = {"users": "_id", "keys": "user_id", "conversations": "owner_id", "messages": "owner_id", "turns": "owner_id"}


def principal(role: Role, *scopes: Permission) -> Principal:
    return Principal(
        ME, Credential("key", ObjectId()), role, with_parts(scopes or PERMISSIONS) & ROLE_PERMISSIONS[role]
    )


@pytest.mark.parametrize("resource", [USERS, KEYS, CONVERSATIONS, MESSAGES, TURNS], ids=lambda each: each.name)
def test_users_see_their_own_rows_and_admins_all(resource: Resource) -> None:
    own = Scope({OWN[resource.name]: ME})

    assert principal("user").scope(resource) == own
    assert principal("admin").scope(resource) == EVERYTHING
    assert principal("analyst").scope(resource) == (own if resource is KEYS else EVERYTHING)


@pytest.mark.parametrize("role", ROLES)
def test_a_scope_tells_who_asks(role: Role) -> None:
    assert principal(role).scope(MESSAGES).asker == ME
    assert EVERYTHING.asker is None


@pytest.mark.parametrize("role", ROLES)
def test_no_scope_gives_more_than_the_role(role: Role) -> None:
    for permission in PERMISSIONS:
        narrow = principal(role, permission)
        assert narrow.permissions <= with_parts([permission]) & ROLE_PERMISSIONS[role]
        for other in set(PERMISSIONS) - narrow.permissions:
            with pytest.raises(Forbidden):
                narrow.require(other)


def test_writing_needs_the_scope_admin_to_reach_other_peoples_rows() -> None:
    assert principal("admin").permitted("conversations:write").scope(CONVERSATIONS) == EVERYTHING
    assert principal("admin", "read", "write").scope(CONVERSATIONS) == EVERYTHING
    assert principal("admin", "read", "write").permitted("conversations:write").scope(CONVERSATIONS) == Scope(
        {"owner_id": ME}
    )
    for reader in (principal("analyst"), principal("admin", "read")):
        with pytest.raises(Forbidden):
            reader.permitted("conversations:write")


def test_only_admins_name_another_owner() -> None:
    assert principal("user").owner_of_new(None) == ME
    assert principal("user").owner_of_new(ME) == ME
    assert principal("admin").owner_of_new(OTHER) == OTHER
    for other in (principal("user"), principal("admin", "read", "write")):
        with pytest.raises(Forbidden):
            other.owner_of_new(OTHER)


def test_a_whole_scope_is_its_parts_and_the_parts_are_not_the_whole() -> None:
    assert "conversations:read" in with_parts(["read"])
    assert "read" not in with_parts(with_parts(["read"]) - {"read"})
    assert in_short(with_parts(["write", "read"])) == ["read", "write"]
    assert in_short(["users:read", "write", "users:write"]) == ["write", "users:read"]
    assert in_short([]) == []


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_no_part_implies_another(permission: Permission) -> None:
    if ":" in permission:
        assert with_parts([permission]) == {permission}


def test_parts_that_change_see_what_is_ones_own() -> None:
    parts: tuple[Permission, ...] = ("conversations:read", "conversations:write")

    assert principal("admin", *parts).permitted("conversations:read").scope(CONVERSATIONS) == EVERYTHING
    assert principal("admin", *parts).permitted("conversations:write").scope(CONVERSATIONS) == Scope({"owner_id": ME})


def test_who_manages_accounts_reaches_no_admin() -> None:
    assert principal("admin").scope_of_accounts(USERS) == EVERYTHING
    manager = principal("admin", "users:admin").scope_of_accounts(USERS)
    assert manager == Scope({"role": {"$ne": "admin"}})
    assert manager.seen == {}


def test_the_log_of_everybody_needs_its_own_part() -> None:
    assert principal("admin", "audit:read").scope(AUDIT) == EVERYTHING
    assert principal("admin", "read", "export").scope(AUDIT) == Scope({"actor_id": ME})
    assert principal("analyst").scope(AUDIT) == Scope({"actor_id": ME})
