"""Making a replica set with authentication out of members that have a key file and no users yet; done again it changes
nothing.

MongoDB trusts a client on the same machine until the first user is there (the localhost exception): `address` must then
be a loopback address of a member.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from app.mongod.certificates import client_options
from app.mongod.failures import MongodUnavailable

ELECTION_TIMEOUT = 2000  # milliseconds
SETTINGS = {
    "electionTimeoutMillis": ELECTION_TIMEOUT,
    # Members hear of each other several times within an election timeout. With the default of 2 s a new primary thought
    # that it was alone, and stepped down.
    "heartbeatIntervalMillis": 500,
    # A new primary has all that a majority has. For more than that it waits for members that may hang or be cut off.
    "catchUpTimeoutMillis": 500,
}
"""How a set notices that a primary is lost, and goes on: 3 s without writes instead of 11."""
ADMIN, APPLICATION = "admin", "verbatim"
"""Users: one who may do everything, and one who may read and write one database."""
_PAUSE = 0.2  # seconds
_TIMEOUTS: dict[str, Any] = {"serverSelectionTimeoutMS": 2000, "connectTimeoutMS": 2000, "socketTimeoutMS": 20_000}
_UNAUTHORIZED, _AUTHENTICATION_FAILED, _ALREADY_INITIALIZED, _USER_EXISTS = 13, 18, 23, 51003


@dataclass(frozen=True)
class Plan:
    """What the set is to be: its name, the members' addresses as clients know them, passwords, and the database of the
    application. `authority`: whose certificates members have that speak TLS."""

    name: str
    hosts: Sequence[str]
    admin_password: str
    application_password: str
    database: str
    authority: Path | None = None

    @property
    def admin(self) -> dict[str, str]:
        """The arguments of a client that is the admin."""
        return {"username": ADMIN, "password": self.admin_password}


def initiate(address: str, plan: Plan, *, seconds: float) -> None:
    """Make the set and its users, asking the first of the members, which is at `address`.

    Raises PyMongoError; MongodUnavailable when the admin has another password; TimeoutError when it takes longer.
    """
    deadline = time.monotonic() + seconds
    _until(deadline, lambda: _is_initiated(address, plan))
    _until(deadline, lambda: _has_admin(plan) or _made_admin(address, plan))
    with _client(plan, **plan.admin) as client:
        _make_application(client, plan)
        _equalize(client)
        client.admin.command("setDefaultRWConcern", defaultWriteConcern={"w": "majority"})


def _is_initiated(address: str, plan: Plan) -> bool:
    """Whether the set is there; it is made when it is not. The first member is preferred until there are users: only
    there they can be made."""
    members = [
        {"_id": number, "host": host, "priority": 2 if number == 0 else 1} for number, host in enumerate(plan.hosts)
    ]
    try:
        with _direct(address, plan) as client:
            if "setName" not in client.admin.command("hello"):
                config = {"_id": plan.name, "members": members, "settings": SETTINGS}
                client.admin.command("replSetInitiate", config)
    except ConnectionFailure:
        return False
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise
    return True


def _has_admin(plan: Plan) -> bool:
    try:
        with _client(plan, **plan.admin) as client:
            client.admin.command("ping")
    except ConnectionFailure:
        return False  # there is no primary yet
    except OperationFailure as error:
        if error.code != _AUTHENTICATION_FAILED:
            raise
        return False
    return True


def _made_admin(address: str, plan: Plan) -> bool:
    """Whether this member is the primary and has taken the first user."""
    try:
        with _direct(address, plan) as client:
            if not client.admin.command("hello")["isWritablePrimary"]:
                return False
            client.admin.command("createUser", ADMIN, pwd=plan.admin_password, roles=["root"])
    except ConnectionFailure:
        return False
    except OperationFailure as error:
        if error.code == _UNAUTHORIZED:
            raise MongodUnavailable(
                "The replica set has users already, and this is not the password of its admin: give the one it was made"
                " with."
            ) from error
        raise
    return True


def _make_application(client: MongoClient[dict[str, Any]], plan: Plan) -> None:
    """The application's user with the plan's password, which may be a new one."""
    user: dict[str, Any] = {
        "pwd": plan.application_password,
        "roles": [{"role": "readWrite", "db": plan.database}],
    }
    try:
        client.admin.command("createUser", APPLICATION, **user)
    except OperationFailure as error:
        if error.code != _USER_EXISTS:
            raise
        client.admin.command("updateUser", APPLICATION, **user)


def _equalize(client: MongoClient[dict[str, Any]]) -> None:
    """Let every member be as good a primary as any: one that comes back must not cause another election."""
    config = client.admin.command("replSetGetConfig")["config"]
    if any(member["priority"] != 1 for member in config["members"]):
        config["members"] = [{**member, "priority": 1} for member in config["members"]]
        client.admin.command("replSetReconfig", {**config, "version": config["version"] + 1})


def _until(deadline: float, condition: Callable[[], bool]) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_PAUSE)


def _direct(address: str, plan: Plan) -> MongoClient[dict[str, Any]]:
    tls = client_options(plan.authority)
    return MongoClient(f"mongodb://{address}", directConnection=True, **_TIMEOUTS, **tls)


def _client(plan: Plan, **credentials: Any) -> MongoClient[dict[str, Any]]:
    options = {**_TIMEOUTS, **client_options(plan.authority), **credentials}
    return MongoClient(f"mongodb://{','.join(plan.hosts)}", replicaSet=plan.name, **options)
