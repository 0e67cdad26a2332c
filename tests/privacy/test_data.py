"""GET /api/users/{id}/data: everything of a person, and nothing of others."""

import io
import json
import tracemalloc
import zipfile
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.conversations.model import Message
from app.privacy.inventory import EXPORTED
from app.services import Services
from tests.conftest import Person, client_of
from tests.privacy.conftest import Life

pytestmark = pytest.mark.mongod


async def opened(client: httpx.AsyncClient, id: object) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The manifest and the rows of an archive."""
    response = await client.get(f"/api/users/{id}/data")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    lines = {name.removesuffix(".jsonl"): text.splitlines() for name, text in files.items()}
    return manifest, {name: [json.loads(line) for line in each] for name, each in lines.items()}


async def test_everything_of_ana_is_in_it_and_no_secret(as_ana: httpx.AsyncClient, ana: Person, life: Life) -> None:
    manifest, rows = await opened(as_ana, ana.id)

    assert set(rows) == {each.name for each in EXPORTED}
    assert {name for name, found in rows.items() if not found} == set()
    assert {each["name"].removesuffix(".jsonl"): each["rows"] for each in manifest["files"]} == {
        name: len(found) for name, found in rows.items()
    }
    assert rows["users"][0]["email"] == ana.email
    assert {row["title"] for row in rows["conversations"]} == {"Kept words", "Thrown away"}
    assert {"Kept words by Ana", "Thrown away by Ana"} <= {row["content"] for row in rows["messages"]}
    text = json.dumps(rows)
    assert not [secret for secret in life.secrets if secret in text]
    assert "refresh_tokens" in manifest["left_out"]


async def test_it_holds_nothing_of_others_and_does_not_say_where_an_admin_sits(
    as_admin: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, ana: Person, life: Life
) -> None:
    await as_admin.patch(f"/api/users/{ben.id}", json={"name": "Benjamin"})

    _, rows = await opened(as_ben, ben.id)

    hers = (ana.email, life.conversation.rpartition("/")[2], "by Ana")
    assert not [word for word in hers if word in json.dumps(rows)]
    assert rows["messages"] == []
    [changed] = [row for row in rows["audit"] if row["action"] == "user.changed"]
    assert (changed["address"], changed["credential_id"], changed["request_id"]) == (None, None, None)


async def test_only_oneself_and_admins_get_it(
    app: FastAPI, as_admin: httpx.AsyncClient, as_ben: httpx.AsyncClient, as_analyst: httpx.AsyncClient, ana: Person
) -> None:
    assert (await as_ben.get(f"/api/users/{ana.id}/data")).status_code == 404
    assert (await as_analyst.get(f"/api/users/{ana.id}/data")).status_code == 404
    assert (await as_admin.get(f"/api/users/{ana.id}/data")).status_code == 200
    async with client_of(app) as client:
        assert (await client.get(f"/api/users/{ana.id}/data")).status_code == 401


async def test_it_is_made_in_constant_memory(services: Services, ana: Person) -> None:
    for part in range(8):
        rows = [
            Message(conversation_id=ana.id, owner_id=ana.id, seq=seq, role="user", content="w" * 50_000)
            for seq in range(100 * part + 1, 100 * part + 101)
        ]
        await services.conversations.messages.insert_many(rows)

    tracemalloc.start()
    try:
        size = 0
        async for chunk in services.privacy.data.of(ana.id):
            size += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size > 0
    assert peak < 30 * 1024 * 1024  # of 40 MB of messages


async def test_a_part_of_the_archive_is_none(as_ana: httpx.AsyncClient, ana: Person, life: Life) -> None:
    whole = (await as_ana.get(f"/api/users/{ana.id}/data")).content

    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(whole[:-100]))
