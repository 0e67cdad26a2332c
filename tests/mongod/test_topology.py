"""A MongoDB that cannot serve is refused at the start, with a sentence that says what to do."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient

from app.database import DatabaseUnavailable, check_topology


def client_of(hello: dict[str, Any]) -> AsyncMongoClient[dict[str, Any]]:
    async def command(_: str) -> dict[str, Any]:
        return hello

    return cast("AsyncMongoClient[dict[str, Any]]", SimpleNamespace(admin=SimpleNamespace(command=command)))


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"maxWireVersion": 21}, "replica set"),
        ({"setName": "rs0", "maxWireVersion": 13}, "too old"),
        ({"msg": "isdbgrid", "maxWireVersion": 9}, "too old"),
    ],
)
async def test_a_server_that_cannot_serve_is_refused(hello: dict[str, Any], reason: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=reason):
        await check_topology(client_of(hello))


async def test_a_replica_set_of_mongodb_6_is_taken() -> None:
    hello = {"setName": "rs0", "maxWireVersion": 17}

    assert await check_topology(client_of(hello)) is hello
