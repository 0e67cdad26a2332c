"""What users and keys may use of language models: held while the answer is being written."""

import asyncio

import httpx
import pytest
from bson import ObjectId

from app.config import Settings
from app.database import Database
from app.kit.errors import QuotaExceeded
from app.limits.model import Quota
from app.limits.places import Places
from app.limits.quotas import Payer, Quotas
from app.limits.repository import SpendingRepository
from app.services import Services
from tests.conftest import Person
from tests.turns.conftest import conversation, messages_of, new_conversation, upstream
from tests.turns.conftest import settings as settings_with_upstream
from tests.upstream import TOKENS, Upstream

__all__ = ["conversation", "settings_with_upstream", "upstream"]

ME = Payer(ObjectId())


def quotas(**quota: float) -> Quotas:
    return Quotas(SpendingRepository(), Quota.model_validate(quota))


async def test_without_a_limit_nothing_is_read_and_everything_is_counted(empty_database: Database) -> None:
    own = quotas()
    assert not own.meter(ME).is_limited
    own.charge(ME, 10, 0.5)
    own.charge(ME, 5, 0.25)

    day = (await own.usage(ME))["user"]["day"]
    await own.aclose()

    assert (day["turns"], day["tokens"], day["cost"], day["tokens_limit"]) == (2, 15, 0.75, None)
    month = (await quotas().usage(ME))["user"]["month"]
    assert (month["turns"], month["tokens"]) == (2, 15)


@pytest.mark.parametrize("quota", [{"tokens_per_day": 10}, {"tokens_per_month": 10}, {"cost_per_day": 1.0}])
async def test_who_has_used_everything_is_refused_by_every_process(
    empty_database: Database, quota: dict[str, float]
) -> None:
    own = quotas(**quota)
    await own.admit(ME)
    own.charge(ME, 10, 1.0)
    with pytest.raises(QuotaExceeded):
        await own.admit(ME)
    await own.aclose()

    with pytest.raises(QuotaExceeded) as refusal:
        await quotas(**quota).admit(ME)
    assert int(refusal.value.headers["Retry-After"]) > 0
    await quotas(**quota).admit(Payer(ObjectId()))


async def test_answers_at_the_same_time_share_one_account(empty_database: Database) -> None:
    own = quotas(tokens_per_day=10)
    first, second = own.meter(ME), own.meter(ME)
    await first.use(4, 0)
    await second.use(5, 0)

    with pytest.raises(QuotaExceeded):
        await first.use(5, 0)
    first.close(5, 0)
    with pytest.raises(QuotaExceeded):
        await second.use(6, 0)
    second.close(5, 0)
    second.close(5, 0)
    await own.aclose()
    assert (await quotas().usage(ME))["user"]["day"]["tokens"] == 10


async def test_streams_of_a_user_have_places() -> None:
    places, ana, ben = Places(1), ObjectId(), ObjectId()
    with places.taking(ana), places.taking(ben), pytest.raises(Exception, match="open streams"):
        places.check(ana)
    places.check(ana)


@pytest.fixture
def settings(settings_with_upstream: Settings) -> Settings:
    return settings_with_upstream.model_copy(update={"max_streams_per_user": 1})


async def key_with(services: Services, client: httpx.AsyncClient, person: Person, **quota: float) -> Person:
    answer = await client.post("/api/keys", json={"name": "bounded", "quota": quota})
    assert answer.status_code == 201, answer.text
    return Person(person.id, person.email, answer.json()["key"])


@pytest.mark.mongod
async def test_an_answer_ends_when_nothing_is_left_and_keeps_its_text(
    services: Services, live_url: str, live_ana: httpx.AsyncClient, ana: Person, conversation: str, upstream: Upstream
) -> None:
    bounded = await key_with(services, live_ana, ana, tokens_per_day=3)
    async with httpx.AsyncClient(base_url=live_url, headers=bounded.headers, timeout=30) as client:
        for _ in TOKENS:
            upstream.gate.release()
        answer = await client.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:drip"})
        again = await client.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:drip"})
        usage = (await client.get("/api/users/me/usage")).json()
        refused = await client.post("/api/keys", json={"name": "unbounded"})
        renamed = await client.patch("/api/users/me", json={"password": "correct horse battery"})

    turn = answer.json()["turn"]
    assert (answer.status_code, answer.json()["code"], turn["state"]) == (429, "quota_exceeded", "failed")
    assert turn["error"]["code"] == "quota_exceeded"
    text = turn["assistant_message"]["content"]
    assert text
    assert "".join(TOKENS).startswith(text)
    assert len(text) < len("".join(TOKENS))
    assert (await messages_of(live_ana, conversation))[1]["content"] == text
    assert turn["usage"]["estimated"] is True
    assert (again.status_code, again.json()["code"]) == (429, "quota_exceeded")
    assert int(again.headers["retry-after"]) > 0
    assert len(await messages_of(live_ana, conversation)) == 2
    assert usage["key"]["day"]["tokens"] == turn["usage"]["total"] == usage["user"]["month"]["tokens"]
    assert usage["key"]["day"]["tokens_limit"] == 3
    assert usage["user"]["day"]["tokens_limit"] is None
    assert (refused.status_code, renamed.status_code) == (403, 403)
    free = await live_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "echo"})
    assert free.status_code == 201


@pytest.mark.mongod
async def test_an_answer_that_was_cancelled_is_paid_for(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with live_ana.stream(
        "POST", f"{conversation}/turns", json={"content": "Hi", "model": "local:drip", "stream": True}
    ) as stream:
        upstream.gate.release()
        lines = stream.aiter_lines()
        while not (await anext(lines)).startswith("event: delta"):
            pass
        await live_ana.post(f"{stream.headers['location']}/cancel")

    assert (await live_ana.get("/api/users/me/usage")).json()["user"]["day"]["tokens"] > 0


@pytest.mark.mongod
async def test_a_stream_too_many_is_refused_before_its_turn_begins(
    live_ana: httpx.AsyncClient, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    drip = {"content": "Hi", "model": "local:drip", "stream": True}
    async with live_ana.stream("POST", f"{conversation}/turns", json=drip) as stream:
        other = await new_conversation(live_ana)
        refused = await live_ana.post(f"{other}/turns", json=drip)
        follow = await live_ana.get(f"{stream.headers['location']}/events")
        assert [each.json()["code"] for each in (refused, follow)] == ["too_many_streams"] * 2
        assert await messages_of(live_ana, other) == []
        for _ in TOKENS:
            upstream.gate.release()
        async with asyncio.timeout(20):
            await stream.aread()
    assert (await live_ana.get(f"{stream.headers['location']}/events")).status_code == 200


@pytest.mark.mongod
async def test_who_asks_pays_not_who_owns_the_conversation(
    app: object, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, conversation: str
) -> None:
    await as_ana.put(f"{conversation}/shares/{ben.id}", json={"access": "write"})

    assert (await as_ben.post(f"{conversation}/turns", json={"content": "Hello"})).status_code == 201

    used = [(await each.get("/api/users/me/usage")).json()["user"]["day"]["turns"] for each in (as_ana, as_ben)]
    assert used == [0, 1]
