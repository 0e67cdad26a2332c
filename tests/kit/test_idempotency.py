"""A request repeated with its key happens once and is answered the same again."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest
from starlette.responses import Response

from app.database import Database
from app.kit.errors import Conflict, IdempotencyKeyReused, Invalid
from app.kit.idempotency import IdempotencyRecord, Once, check_key, fingerprint
from app.kit.responses import JSON
from app.kit.transactions import current_session
from tests.kit.samples import SampleRepository, sample

Effect = Callable[[], Awaitable[Response]]


@pytest.fixture
def once(empty_database: Database) -> Callable[..., Once]:
    def build(key: str | None = "key", body: bytes = b"body", owner: str = "ana", route: str = "POST /x") -> Once:
        return Once(empty_database.transactions, owner, route, key, fingerprint(body))

    return build


def storing(samples: SampleRepository, error: Exception | None = None) -> Effect:
    async def effect() -> Response:
        row = sample(1)
        await samples.collection.insert_one(row, session=current_session())
        if error is not None:
            raise error
        return JSON({"id": row["_id"], "key": "secret"}, status_code=201, headers={"Location": "/x/1", "ETag": '"1"'})

    return effect


async def test_a_repeated_request_is_answered_the_same_and_says_so(
    samples: SampleRepository, once: Callable[..., Once]
) -> None:
    first = await once().run(storing(samples))
    second = await once().run(storing(samples))

    assert (second.status_code, second.body) == (first.status_code, first.body)
    for name in ("location", "etag", "content-type"):
        assert second.headers[name] == first.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert await samples.collection.count_documents({}) == 1


async def test_the_same_key_with_another_body_is_refused(samples: SampleRepository, once: Callable[..., Once]) -> None:
    await once().run(storing(samples))

    with pytest.raises(IdempotencyKeyReused) as caught:
        await once(body=b"other").run(storing(samples))
    assert caught.value.status == 422


@pytest.mark.parametrize("other", [{"owner": "ben"}, {"route": "POST /y"}, {"key": "other"}, {"key": None}])
async def test_keys_of_others_have_nothing_to_do_with_it(
    samples: SampleRepository, once: Callable[..., Once], other: dict[str, str | None]
) -> None:
    await once().run(storing(samples))
    await once(**other).run(storing(samples))

    assert await samples.collection.count_documents({}) == 2


async def test_concealed_members_are_shown_once(samples: SampleRepository, once: Callable[..., Once]) -> None:
    first = await once().run(storing(samples), concealed=("key",))
    second = await once().run(storing(samples), concealed=("key",))

    assert orjson.loads(first.body)["key"] == "secret"
    assert orjson.loads(second.body) == {**orjson.loads(first.body), "key": None}
    stored = await IdempotencyRecord.get_pymongo_collection().find_one({})
    assert stored is not None
    assert b"secret" not in stored["body"]


@pytest.mark.mongod
async def test_a_failure_stores_nothing_and_may_be_tried_again(
    samples: SampleRepository, once: Callable[..., Once]
) -> None:
    with pytest.raises(Conflict):
        await once().run(storing(samples, Conflict()))
    assert await samples.collection.count_documents({}) == 0
    assert await IdempotencyRecord.get_pymongo_collection().count_documents({}) == 0

    assert (await once().run(storing(samples))).status_code == 201


@pytest.mark.mongod
async def test_fifty_at_once_have_one_effect(samples: SampleRepository, once: Callable[..., Once]) -> None:
    answers = await asyncio.gather(*(once().run(storing(samples)) for _ in range(50)))

    assert len({bytes(answer.body) for answer in answers}) == 1
    assert await samples.collection.count_documents({}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_items_of_a_bulk_request_have_keys_of_their_own(
    samples: SampleRepository, once: Callable[..., Once]
) -> None:
    for index in (0, 1, 0):
        await once().item(index).run(storing(samples))

    assert await samples.collection.count_documents({}) == 2


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a\nb"])
def test_a_key_that_cannot_be_used_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key"):
        check_key(key)
