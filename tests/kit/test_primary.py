"""What requests do while the database has no primary."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from app.kit.errors import Unavailable
from app.kit.primary import Primary
from app.kit.probing import Probe
from app.services import Services


async def _waiting(primary: Primary, count: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(primary.present()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_waits_and_goes_on_when_there_is_one() -> None:
    primary = Primary(patience=60)
    await primary.present()
    primary.note(is_there=False)
    tasks = await _waiting(primary, 3)
    assert not any(task.done() for task in tasks)
    primary.note(is_there=True)

    await asyncio.gather(*tasks)
    await primary.present()
    assert not primary.is_away


async def test_patience_is_that_of_the_outage_not_of_each_who_comes() -> None:
    primary = Primary(patience=0.2)
    loop = asyncio.get_running_loop()
    primary.note(is_there=False)
    lost_at = loop.time()
    (first,) = await _waiting(primary, 1)
    await asyncio.wait({first})
    waited = loop.time() - lost_at
    refused_at = loop.time()
    for _ in range(100):
        with pytest.raises(Unavailable):
            await primary.present()

    assert isinstance(first.exception(), Unavailable)
    assert waited >= 0.19
    assert loop.time() - refused_at < 0.19  # for all of them together


async def test_a_second_outage_is_waited_for_like_the_first() -> None:
    primary = Primary(patience=60)
    for _ in range(2):
        primary.note(is_there=False)
        (task,) = await _waiting(primary, 1)
        assert not task.done()
        primary.note(is_there=True)
        await task


async def test_nobody_waits_for_it_while_the_process_stops() -> None:
    primary = Primary(patience=60)
    primary.note(is_there=False)
    (task,) = await _waiting(primary, 1)
    primary.lose_patience()

    with pytest.raises(Unavailable) as refused:
        await task
    assert refused.value.headers == {"Retry-After": "2"}


async def test_what_needs_no_database_answers_without_one(
    app: FastAPI, services: Services, anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient
) -> None:
    assert (await anonymous.get("/health/ready")).status_code == 200
    services.database.primary.note(is_there=False)
    refused = await as_ana.get("/api/users/me")
    ready = await anonymous.get("/health/ready")
    others = [(await anonymous.get(path)).status_code for path in ("/health/live", "/docs", "/openapi.json")]
    services.database.primary.note(is_there=True)

    for answer in (refused, ready):
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
        assert answer.headers["content-type"] == "application/problem+json"
    assert "nothing was done" in refused.json()["detail"]
    assert others == [200, 200, 200]
    assert (await as_ana.get("/api/users/me")).status_code == 200


async def test_a_probe_asks_once_for_all_who_want_to_know() -> None:
    asked = 0
    answers = asyncio.Event()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await answers.wait()
        if asked == 1:
            raise Unavailable("no")

    probe = Probe(ask, seconds=0)
    first = [asyncio.create_task(probe()) for _ in range(5)]
    await asyncio.sleep(0)
    answers.set()
    results = await asyncio.gather(*first, return_exceptions=True)

    assert asked == 1
    assert all(isinstance(each, Unavailable) for each in results)
    await probe()
    assert asked == 2
