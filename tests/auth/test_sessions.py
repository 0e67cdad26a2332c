"""Sessions: refresh tokens that are used once each, what a stolen one sets off, and signing out."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from bson import ObjectId

from app.auth import sessions
from app.config import Settings
from app.kit.clock import now
from app.services import Services, build_services
from tests.auth.signing_in import basic, bearer, give_password, refresh, sign_in, status_of
from tests.conftest import Person

pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("cheap_passwords")]


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Without a leeway, unless a test sets one with `@leeway(seconds)`."""
    return settings.model_copy(update={"refresh_leeway": getattr(request, "param", 0)})


def leeway(seconds: float) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [seconds], indirect=True)


@pytest.fixture
async def ana(services: Services, ana: Person) -> Person:
    await give_password(services, ana)
    return ana


async def revoke(client: httpx.AsyncClient, token: str, **form: str) -> int:
    return (await client.post("/api/auth/revoke", data={"token": token, **form})).status_code


async def count(services: Services, collection: str) -> int:
    return await services.database.client[services.database.name][collection].count_documents({})


async def test_a_refresh_token_is_exchanged_for_the_next_ones(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    first = await sign_in(anonymous, ana)
    second = (await refresh(anonymous, first["refresh_token"])).json()
    third = (await refresh(anonymous, second["refresh_token"])).json()

    assert len({each["refresh_token"] for each in (first, second, third)}) == 3
    assert second["scope"] == "read write export"
    for granted in (first, second, third):
        assert await status_of(anonymous, bearer(granted["access_token"])) == 200
    assert await count(services, "sessions") == 1


async def test_a_replayed_refresh_token_ends_the_whole_session(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    stolen = await sign_in(anonymous, ana)
    other = await sign_in(anonymous, ana)
    owners = (await refresh(anonymous, stolen["refresh_token"])).json()

    replay = await refresh(anonymous, stolen["refresh_token"])

    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    for granted in (stolen, owners):
        assert await status_of(anonymous, bearer(granted["access_token"])) == 401
        assert (await refresh(anonymous, granted["refresh_token"])).json()["error"] == "invalid_grant"
    assert await status_of(anonymous, bearer(other["access_token"])) == 200
    assert await count(services, "sessions") == await count(services, "refresh_tokens") == 1


async def test_a_replay_of_an_old_generation_ends_it_too(anonymous: httpx.AsyncClient, ana: Person) -> None:
    first = await sign_in(anonymous, ana)
    newest = first
    for _ in range(3):
        newest = (await refresh(anonymous, newest["refresh_token"])).json()

    await refresh(anonymous, first["refresh_token"])

    assert (await refresh(anonymous, newest["refresh_token"])).status_code == 400


@leeway(10)
async def test_a_client_that_lost_the_answer_may_ask_again_for_a_while(
    anonymous: httpx.AsyncClient, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await sign_in(anonymous, ana)
    lost = (await refresh(anonymous, first["refresh_token"])).json()
    again = (await refresh(anonymous, first["refresh_token"])).json()
    assert await status_of(anonymous, bearer(again["access_token"])) == 200

    later = now() + timedelta(seconds=11)
    monkeypatch.setattr(sessions, "now", lambda: later)

    assert (await refresh(anonymous, first["refresh_token"])).status_code == 400
    for granted in (lost, again):
        assert (await refresh(anonymous, granted["refresh_token"])).status_code == 400


@pytest.mark.parametrize(("settings", "winners"), [(0, {0, 1}), (10, {8})], indirect=["settings"])
async def test_of_many_exchanges_at_once_no_two_win_without_a_leeway(
    anonymous: httpx.AsyncClient, ana: Person, winners: set[int]
) -> None:
    granted = await sign_in(anonymous, ana)

    answers = await asyncio.gather(*(refresh(anonymous, granted["refresh_token"]) for _ in range(8)))

    assert {each.status_code for each in answers} <= {200, 400}
    assert sum(each.status_code == 200 for each in answers) in winners


async def test_a_refresh_may_narrow_and_never_widen(anonymous: httpx.AsyncClient, ana: Person) -> None:
    granted = await sign_in(anonymous, ana, scope="read write")
    refused = await refresh(anonymous, granted["refresh_token"], scope="read export")
    assert refused.json()["error"] == "invalid_scope"

    narrow = (await refresh(anonymous, granted["refresh_token"], scope="read")).json()
    wide = (await refresh(anonymous, narrow["refresh_token"])).json()
    assert (narrow["scope"], wide["scope"]) == ("read", "read write")


async def test_a_session_ends_on_its_day(
    anonymous: httpx.AsyncClient, ana: Person, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await sign_in(anonymous, ana)
    later = now() + timedelta(days=settings.session_days)
    monkeypatch.setattr(sessions, "now", lambda: later)

    assert (await refresh(anonymous, granted["refresh_token"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_revoking_either_token_ends_the_session_at_once(
    anonymous: httpx.AsyncClient, ana: Person, which: str
) -> None:
    granted, other = await sign_in(anonymous, ana), await sign_in(anonymous, ana)
    assert await status_of(anonymous, bearer(granted["access_token"])) == 200

    assert await revoke(anonymous, granted[which], token_type_hint="wrong") == 200

    assert await status_of(anonymous, bearer(granted["access_token"])) == 401
    assert (await refresh(anonymous, granted["refresh_token"])).status_code == 400
    assert await status_of(anonymous, bearer(other["access_token"])) == 200
    assert await revoke(anonymous, granted[which]) == 200


async def test_a_used_refresh_token_still_revokes(anonymous: httpx.AsyncClient, ana: Person) -> None:
    first = await sign_in(anonymous, ana)
    second = (await refresh(anonymous, first["refresh_token"])).json()
    assert await revoke(anonymous, first["refresh_token"]) == 200
    assert await status_of(anonymous, bearer(second["access_token"])) == 401


async def test_revoking_nonsense_says_nothing(anonymous: httpx.AsyncClient, ana: Person) -> None:
    for nonsense in ("x", ana.key, "a.b.c", str(ObjectId())):
        assert await revoke(anonymous, nonsense) == 200
    assert await status_of(anonymous, bearer(ana.key)) == 200
    assert await revoke(anonymous, "") == 400


async def test_logging_out_ends_this_session_or_all_of_them(
    anonymous: httpx.AsyncClient, ana: Person, ben: Person, services: Services
) -> None:
    await give_password(services, ben)
    granted = [await sign_in(anonymous, person) for person in (ana, ana, ana, ben)]
    headers = [bearer(each["access_token"]) for each in granted]

    assert (await anonymous.post("/api/auth/logout", headers=headers[0])).status_code == 204
    assert [await status_of(anonymous, each) for each in headers] == [401, 200, 200, 200]

    everywhere = {"everywhere": "true"}
    assert (await anonymous.post("/api/auth/logout", params=everywhere, headers=headers[1])).status_code == 204
    assert [await status_of(anonymous, each) for each in headers] == [401, 401, 401, 200]
    assert (
        await anonymous.post("/api/auth/logout", params=everywhere, headers=basic(ben.email, "x"))
    ).status_code == 401
    for refused in (bearer(ana.key),):
        response = await anonymous.post("/api/auth/logout", params=everywhere, headers=refused)
        assert (response.status_code, response.json()["reason"]) == (409, "no_session")


async def test_sessions_are_listed_and_ended_by_their_owner(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ana: Person
) -> None:
    granted = await sign_in(anonymous, ana, scope="read")
    listed = (await as_ana.get("/api/auth/sessions")).json()["items"]

    assert [(each["user_id"], each["scopes"]) for each in listed] == [(str(ana.id), ["read"])]
    assert listed[0]["user_agent"].startswith("python-httpx")
    assert granted["refresh_token"] not in str(listed)
    path = f"/api/auth/sessions/{listed[0]['id']}"
    assert (await as_ben.get("/api/auth/sessions")).json()["items"] == []
    assert (await as_ben.delete(path)).status_code == 404
    assert await status_of(anonymous, bearer(granted["access_token"])) == 200
    assert (await as_ana.delete(path)).status_code == 204
    assert await status_of(anonymous, bearer(granted["access_token"])) == 401
    assert (await as_ana.delete(path)).status_code == 404


@pytest.mark.parametrize("query", ["epoch=1", "fields=epoch", "sort=epoch", "hash=x", "user_agent__has=a"])
async def test_what_a_session_hides_cannot_be_asked_for(as_ana: httpx.AsyncClient, query: str) -> None:
    assert (await as_ana.get(f"/api/auth/sessions?{query}")).status_code == 422


async def test_a_password_changed_while_somebody_signs_in_wins(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    """The account was read, and its password was right, before the change."""
    account = await services.users.rows.account(ana.id)
    assert account is not None
    await give_password(services, ana, "another password")

    late = await services.access.sessions.open(account, None, sessions.Client("", ""))

    assert await status_of(anonymous, bearer(late.access_token)) == 401
    assert (await refresh(anonymous, late.refresh_token)).status_code == 400


async def test_a_session_ended_while_it_goes_on_stays_ended(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, settings: Settings
) -> None:
    other = build_services(settings, services.database)
    granted = await sign_in(anonymous, ana)

    async def end() -> None:
        await other.access.sessions.end_all(ana.id)

    answer, _ = await asyncio.gather(refresh(anonymous, granted["refresh_token"]), end())

    assert await count(services, "sessions") == 0
    if answer.status_code == 200:
        assert (await refresh(anonymous, answer.json()["refresh_token"])).status_code == 400
    await other.aclose()
