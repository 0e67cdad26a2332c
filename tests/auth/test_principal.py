"""What a principal may see: the filter that is part of every query."""

import pytest
from bson import ObjectId

from app.auth.model import PERMISSIONS, Permission
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
    return Principal(ME, Credential("key", ObjectId()), role, frozenset(scopes or PERMISSIONS) & ROLE_PERMISSIONS[role])


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
        assert narrow.permissions <= {permission} & ROLE_PERMISSIONS[role]
        for other in set(PERMISSIONS) - narrow.permissions:
            with pytest.raises(Forbidden):
                narrow.require(other)


def test_writing_needs_the_scope_admin_to_reach_other_peoples_rows() -> None:
    assert principal("admin").as_writer().scope(CONVERSATIONS) == EVERYTHING
    assert principal("admin", "read", "write").scope(CONVERSATIONS) == EVERYTHING
    assert principal("admin", "read", "write").as_writer().scope(CONVERSATIONS) == Scope({"owner_id": ME})
    for reader in (principal("analyst"), principal("admin", "read")):
        with pytest.raises(Forbidden):
            reader.as_writer()


def test_only_admins_name_another_owner() -> None:
    assert principal("user").owner_of_new(None) == ME
    assert principal("user").owner_of_new(ME) == ME
    assert principal("admin").owner_of_new(OTHER) == OTHER
    for other in (principal("user"), principal("admin", "read", "write")):
        with pytest.raises(Forbidden):
            other.owner_of_new(OTHER)
