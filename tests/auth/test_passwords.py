"""Passwords: HTTP Basic for tools, no way to find out who exists, and no way to try many."""

import asyncio
import base64
import re

import httpx
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.auth import passwords
from app.config import Settings
from app.kit import security
from app.kit.errors import Unavailable
from app.kit.neighbourhoods import neighbourhood
from app.services import Services, build_services
from tests.auth.signing_in import (
    PASSWORD,
    basic,
    bearer,
    count_hashing,
    forget,
    give_password,
    sign_in,
    status_of,
    token,
)
from tests.auth.test_authentication import status_of as status_of_raw
from tests.conftest import Person

pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("cheap_passwords")]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"login_attempts": 3, "login_attempts_per_address": 20, "login_window": 900})


@pytest.fixture
async def ana(services: Services, ana: Person) -> Person:
    await give_password(services, ana)
    return ana


async def login(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    return await token(client, grant_type="password", username=email, password=password)


async def test_a_tool_gets_in_with_a_password_or_with_a_key_in_its_place(
    anonymous: httpx.AsyncClient, ana: Person
) -> None:
    assert await status_of(anonymous, basic(ana.email, PASSWORD)) == 200
    assert await status_of(anonymous, basic(ana.email.upper(), PASSWORD)) == 200
    for name in ("", "anything", ana.email, "other@example.com"):
        assert await status_of(anonymous, basic(name, ana.key)) == 200


async def test_a_password_may_hold_any_characters(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    await give_password(services, ana, "pä:ss 密码 🔑:")
    assert await status_of(anonymous, basic(ana.email, "pä:ss 密码 🔑:")) == 200
    assert await status_of(anonymous, basic(ana.email, "pä")) == 401


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic !!!",
        "Basic YQ",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"a:").decode(),
        "Basic " + base64.b64encode(b"a:\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"a:b").decode() + " " + base64.b64encode(b"a:b").decode(),
        "Basic " + base64.b64encode(b"a:" + b"b" * 20_000).decode(),
        "Basic " + base64.b64encode(b"a:" + b"b" * 2_000).decode(),
    ],
)
async def test_what_is_no_name_with_a_password_is_refused(
    anonymous: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    hashed = count_hashing(monkeypatch)
    response = await anonymous.get("/api/users/me", headers={"Authorization": value})
    assert response.status_code == 401
    assert response.headers.get_list("www-authenticate")[1] == 'Basic realm="verbatim", charset="UTF-8"'
    assert hashed == []


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=100))
async def test_no_garbage_in_a_basic_header_is_more_than_a_refusal(
    app: object, monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    status = await status_of_raw(app, b"Basic " + base64.b64encode(value))  # type: ignore[arg-type]
    assert status in {401, 429}


async def test_scripts_of_web_pages_are_not_asked_by_the_browser(anonymous: httpx.AsyncClient) -> None:
    for mode, challenges in {"navigate": 2, "cors": 1, "same-origin": 1}.items():
        response = await anonymous.get("/api/users/me", headers={"Sec-Fetch-Mode": mode})
        assert len(response.headers.get_list("www-authenticate")) == challenges


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://test.evil.example.com"])
async def test_a_page_of_another_site_does_nothing_with_a_password_that_the_browser_keeps(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, origin: str
) -> None:
    password, foreign = basic(ana.email, PASSWORD), {"Origin": origin}
    conversation = (await as_ana.post("/api/conversations", json={"title": "Ana's"})).headers["location"]

    for method in ("POST", "DELETE"):
        path = f"{conversation}/restore" if method == "POST" else conversation
        refused = await anonymous.request(method, path, headers={**password, **foreign})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await as_ana.get(conversation)).json()["status"] == "active"
    own = {**password, "Origin": "http://test"}
    assert (await anonymous.delete(conversation, headers=own)).status_code == 204
    by_key = {"Authorization": f"Bearer {ana.key}", **foreign}  # which no browser sends by itself
    assert (await anonymous.post(f"{conversation}/restore", headers=by_key)).status_code == 200


async def test_a_password_is_hashed_once_for_many_requests(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashing(monkeypatch)

    statuses = await asyncio.gather(*(status_of(anonymous, basic(ana.email, PASSWORD)) for _ in range(20)))
    for _ in range(3):
        forget(services)
        statuses.append(await status_of(anonymous, basic(ana.email, PASSWORD)))

    assert set(statuses) == {200}
    assert len(hashed) == 1


async def test_a_password_that_was_right_is_hashed_again_after_a_while(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await status_of(anonymous, basic(ana.email, PASSWORD))
    hashed = count_hashing(monkeypatch)
    before = vars(passwords)["monotonic"]
    monkeypatch.setattr(passwords, "monotonic", lambda: before() + passwords.PROVEN_SECONDS)
    forget(services)
    assert await status_of(anonymous, basic(ana.email, PASSWORD)) == 200
    assert len(hashed) == 1


async def test_nobody_can_tell_who_exists_by_the_answer_or_by_the_work(
    anonymous: httpx.AsyncClient,
    as_admin: httpx.AsyncClient,
    services: Services,
    ana: Person,
    ben: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong password, unknown user, user without a password, disabled user with the right one: the same words, headers
    and one comparison with a hash of the same cost, for a token and for Basic alike."""
    carl = (
        await as_admin.post("/api/users", json={"email": "carl@example.com", "name": "C", "password": PASSWORD})
    ).json()
    await as_admin.patch(f"/api/users/{carl['id']}", json={"disabled": True})
    hashed = count_hashing(monkeypatch)
    people = {ana.email: "wrong password", "no@example.com": PASSWORD, ben.email: PASSWORD, carl["email"]: PASSWORD}

    for answer in (_by_token, _by_basic):
        answers = [await answer(anonymous, email, password) for email, password in people.items()]
        assert all(each == answers[0] for each in answers)
    assert len(hashed) == 2 * len(people)
    costs = {re.match(r"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$", each) for each in hashed}
    assert len({cost.group() for cost in costs if cost is not None}) == 1
    assert None not in costs


async def _by_token(client: httpx.AsyncClient, email: str, password: str) -> object:
    response = await login(client, email, password)
    body = {name: value for name, value in response.json().items() if name != "request_id"}
    return response.status_code, body, sorted(set(response.headers) - {"x-request-id"})


async def _by_basic(client: httpx.AsyncClient, email: str, password: str) -> object:
    response = await client.get("/api/users/me", headers=basic(email, password))
    body = {name: value for name, value in response.json().items() if name != "request_id"}
    return response.status_code, body, response.headers.get_list("www-authenticate")


async def test_the_hash_of_nobody_costs_what_a_real_one_costs(ana: Person) -> None:
    real = await security.hash_password(PASSWORD)
    assert [len(part) for part in real.split("$")] == [len(part) for part in security._NOBODYS_HASH.split("$")]
    assert real.rsplit("$", 2)[0] == security._NOBODYS_HASH.rsplit("$", 2)[0]
    assert not await security.is_password(None, PASSWORD)


async def test_an_old_hash_is_replaced_when_its_password_comes(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await sign_in(anonymous, ana)
    services.access.passwords._proven.clear()
    monkeypatch.setattr(security, "_hasher", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    hashed = count_hashing(monkeypatch)

    for _ in range(2):
        assert (await login(anonymous, ana.email, PASSWORD)).status_code == 200

    account = await services.users.rows.account(ana.id)
    assert account is not None
    assert account.password_hash is not None
    assert "t=2" in account.password_hash
    assert len(hashed) == 1
    assert await status_of(anonymous, bearer(granted["access_token"])) == 200


@pytest.mark.parametrize("email", ["ana@example.com", "no@example.com"])
async def test_too_many_wrong_passwords_close_an_account_whether_it_exists_or_not(
    anonymous: httpx.AsyncClient, ana: Person, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = [(await login(anonymous, email, "wrong")).status_code for _ in range(3)]
    hashed = count_hashing(monkeypatch)

    refused = await login(anonymous, email.upper(), PASSWORD)
    by_basic = await anonymous.get("/api/users/me", headers=basic(email, PASSWORD))

    assert statuses == [400, 400, 400]
    assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
    assert (by_basic.status_code, by_basic.json()["code"]) == (429, "too_many_logins")
    for response in (refused, by_basic):
        assert 250 < int(response.headers["retry-after"]) <= 300
    assert hashed == []
    assert await status_of(anonymous, bearer(ana.key)) == 200


async def test_the_count_is_shared_and_not_outrun_by_many_at_once(
    services: Services, settings: Settings, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashing(monkeypatch)
    processes = [build_services(settings, services.database) for _ in range(3)]

    answers = await asyncio.gather(
        *(
            process.access.passwords.verify(ana.email, f"guess {number}", "192.0.2.1")
            for number, process in enumerate(processes * 5)
        ),
        return_exceptions=True,
    )

    assert len(hashed) == settings.login_attempts
    assert sum(type(each).__name__ == "TooManyLogins" for each in answers) == len(answers) - len(hashed)
    for process in processes:
        await process.aclose()


async def test_one_address_cannot_try_many_accounts(services: Services, settings: Settings, ana: Person) -> None:
    async def attempt(number: int, address: str) -> str:
        try:
            await services.access.passwords.verify(f"user{number}@example.com", "wrong", address)
        except Exception as error:  # noqa: BLE001 its class is what is looked at
            return type(error).__name__
        return ""

    same_network = [await attempt(number, f"2001:db8::{number:x}") for number in range(21)]
    assert same_network == ["Unauthenticated"] * 20 + ["TooManyLogins"]
    assert await attempt(100, "2001:db8:0:1::1") == "Unauthenticated"


async def test_right_passwords_are_not_counted_and_go_on_while_they_are_remembered(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    for _ in range(10):
        services.access.passwords._proven.clear()
        await sign_in(anonymous, ana)
    for _ in range(3):
        await login(anonymous, ana.email, "wrong")
    assert await status_of(anonymous, basic(ana.email, PASSWORD)) == 200
    services.access.passwords._proven.clear()
    forget(services)
    assert await status_of(anonymous, basic(ana.email, PASSWORD)) == 429


async def test_attempts_leak_away(anonymous: httpx.AsyncClient, ana: Person, services: Services) -> None:
    for _ in range(3):
        await login(anonymous, ana.email, "wrong")
    attempts = services.database.client[services.database.name]["login_attempts"]

    earlier = {"$subtract": ["$free_at", 301_000]}
    await attempts.update_many({}, [{"$set": {"free_at": earlier}}])

    assert (await login(anonymous, ana.email, PASSWORD)).status_code == 200
    assert "ana@" not in str(await attempts.find({}).to_list())


async def test_a_header_does_not_change_where_somebody_comes_from(
    anonymous: httpx.AsyncClient, services: Services, ana: Person
) -> None:
    for number in range(4):
        headers = {**basic("a@example.com", f"wrong {number}"), "X-Forwarded-For": f"192.0.2.{number}"}
        await anonymous.get("/api/users/me", headers=headers)
    attempts = services.database.client[services.database.name]["login_attempts"]
    addresses = [each["_id"] for each in await attempts.find({}).to_list() if each["_id"].startswith("address:")]
    assert len(addresses) == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 200, "x" * 100),
    ],
)
def test_neighbours_count_as_one(address: str, network: str) -> None:
    assert neighbourhood(address) == network


async def test_passwords_that_wait_are_bounded(ana: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "MAX_WAITING", 0)
    with pytest.raises(Unavailable, match="Too many passwords"):
        await security.is_password(None, PASSWORD)
