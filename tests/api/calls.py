"""What the tests of conversations do over and over."""

from typing import Any

import httpx

Json = dict[str, Any]


async def new_conversation(client: httpx.AsyncClient, **fields: Any) -> Json:
    """A stored conversation, as it was answered."""
    response = await client.post("/api/conversations", json=fields)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def say(client: httpx.AsyncClient, conversation: Json, content: str, role: str = "user", **fields: Any) -> Json:
    """An appended message, as it was answered."""
    path = f"/api/conversations/{conversation['id']}/messages"
    response = await client.post(path, json={"role": role, "content": content, **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


async def items(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[Json]:
    """The items of one page."""
    response = await client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def pages(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[list[Json]]:
    """Every page of a list, found by its cursors."""
    found: list[list[Json]] = []
    while True:
        response = await client.get(path, params=parameters)
        assert response.status_code == 200, response.text
        found.append(response.json()["items"])
        if response.json()["next"] is None:
            return found
        parameters["after"] = response.json()["next"]


def fields_at_fault(response: httpx.Response) -> list[str]:
    """The places a 422 names."""
    assert response.status_code == 422, response.text
    return [each["field"] for each in response.json()["fields"]]
