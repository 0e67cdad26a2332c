"""Links that show a conversation to whoever has them."""

from datetime import timedelta

import httpx
import pytest
import structlog

from app.conversations.links import MAX_LINKS
from app.conversations.share_model import ShareLink
from app.kit.clock import now
from tests.conftest import Person


@pytest.fixture
async def path(as_ana: httpx.AsyncClient) -> str:
    """A conversation of Ana's with a question and an answer."""
    new = {"title": "Trip", "system_prompt": "Be secretive.", "metadata": {"customer": "4711"}, "tags": ["private"]}
    path = f"/api/conversations/{(await as_ana.post('/api/conversations', json=new)).json()['id']}"
    for role, content in (("user", "Where to?"), ("assistant", "To the <script>sea</script>.")):
        assert (
            await as_ana.post(f"{path}/messages", json={"role": role, "content": content, "metadata": {"a": "secret"}})
        ).status_code == 201
    return path


async def test_a_link_shows_the_words_and_nothing_about_people(
    as_ana: httpx.AsyncClient, anonymous: httpx.AsyncClient, ana: Person, path: str
) -> None:
    link = (await as_ana.post(f"{path}/links", json={"name": "for Ben"})).json()

    shown = await anonymous.get(link["path"])
    messages = await anonymous.get(f"{link['path']}/messages", params={"limit": 1})
    following = await anonymous.get(f"{link['path']}/messages", params={"limit": 1, "after": messages.json()["next"]})

    assert (shown.json()["title"], shown.json()["message_count"]) == ("Trip", 2)
    assert messages.json()["items"][0]["content"] == "Where to?"
    assert following.json()["items"][0]["content"] == "To the <script>sea</script>."
    assert set(messages.json()["items"][0]) == {"seq", "role", "content", "status", "model", "created_at"}
    for answer in (shown, messages, following):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["referrer-policy"] == "no-referrer"
        for secret in (str(ana.id), ana.email, "secretive", "4711", "private", "secret"):
            assert secret not in answer.text, secret


async def test_the_secret_is_shown_once_and_stored_as_a_hash(as_ana: httpx.AsyncClient, path: str) -> None:
    key = {"Idempotency-Key": "once"}
    first = await as_ana.post(f"{path}/links", json={}, headers=key)
    again = await as_ana.post(f"{path}/links", json={}, headers=key)
    listed = (await as_ana.get(f"{path}/links")).json()["items"]

    token = first.json()["token"]
    assert (first.status_code, again.json()["token"], again.json()["path"]) == (201, None, None)
    assert [each["id"] for each in listed] == [first.json()["id"]]
    assert token not in str(listed)
    assert token not in str(await ShareLink.get_pymongo_collection().find().to_list())


async def test_a_link_ends_when_it_is_revoked_expired_or_its_conversation_deleted(
    as_ana: httpx.AsyncClient, anonymous: httpx.AsyncClient, path: str
) -> None:
    links = [(await as_ana.post(f"{path}/links", json={})).json() for _ in range(3)]
    revoked, expired, deleted = (each["path"] for each in links)

    assert (await as_ana.delete(f"{path}/links/{links[0]['id']}")).status_code == 204
    over = {"$set": {"expires_at": now() - timedelta(seconds=1)}}
    await ShareLink.get_pymongo_collection().update_one({"prefix": links[1]["prefix"]}, over)
    assert (await anonymous.get(deleted)).status_code == 200
    await as_ana.delete(path)

    unknown = await anonymous.get("/api/shared/vl_unknown")
    for link in (revoked, expired, deleted):
        for place in (link, f"{link}/messages"):
            answer = await anonymous.get(place)
            assert (answer.status_code, answer.json()["detail"]) == (404, unknown.json()["detail"]), place


async def test_a_link_only_reads(as_ana: httpx.AsyncClient, anonymous: httpx.AsyncClient, path: str) -> None:
    link = (await as_ana.post(f"{path}/links", json={})).json()["path"]

    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await anonymous.request(method, link, json={})).status_code in {401, 405}
    for query in ("q=sea", "role=user", "metadata=1", "fields=metadata", "fields=owner_id", "sort=owner_id"):
        assert (await anonymous.get(f"{link}/messages?{query}")).status_code == 422, query


async def test_how_long_and_how_many(as_ana: httpx.AsyncClient, path: str) -> None:
    for days in (-1, 400):
        new = {"expires_at": (now() + timedelta(days=days)).isoformat()}
        assert (await as_ana.post(f"{path}/links", json=new)).status_code == 422
    for _ in range(MAX_LINKS):
        assert (await as_ana.post(f"{path}/links", json={})).status_code == 201
    assert (await as_ana.post(f"{path}/links", json={})).json()["reason"] == "too_many_links"


async def test_links_of_others_are_not_there(as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, path: str) -> None:
    link = (await as_ana.post(f"{path}/links", json={})).json()["id"]

    assert (await as_ben.post(f"{path}/links", json={})).status_code == 404
    assert (await as_ben.get(f"{path}/links")).status_code == 404
    assert (await as_ben.delete(f"{path}/links/{link}")).status_code == 404


async def test_the_secret_is_not_logged(as_ana: httpx.AsyncClient, anonymous: httpx.AsyncClient, path: str) -> None:
    link = (await as_ana.post(f"{path}/links", json={})).json()

    with structlog.testing.capture_logs() as logs:
        await anonymous.get(f"{link['path']}/messages")

    assert [each["path"] for each in logs if each["event"] == "request"] == ["/api/shared/***/messages"]
    assert link["token"] not in str(logs)
