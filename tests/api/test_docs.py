"""/docs: the interactive documentation."""

import re

import httpx

from app.auth.permissions import MEANINGS, WHOLES
from app.config import Settings
from app.main import build_app


async def test_the_page_and_everything_it_loads_come_from_here(anonymous: httpx.AsyncClient) -> None:
    page = await anonymous.get("/docs")

    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 3
    for address in addresses:
        assert (await anonymous.get(address)).status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert (await anonymous.get("/openapi.json")).json()["openapi"].startswith("3.1")


async def test_each_route_names_its_scope_in_every_way_to_get_in(anonymous: httpx.AsyncClient) -> None:
    """Swagger's Authorize offers all three; its password flow asks the server that the page came from."""
    document = (await anonymous.get("/openapi.json")).json()
    schemes = document["components"]["securitySchemes"]
    operations = {
        f"{method.upper()} {path}": operation["security"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")  # an empty one is of what a signature opens
    }

    assert {name: (each["type"], each.get("scheme")) for name, each in schemes.items()} == {
        "bearer": ("http", "bearer"),
        "basic": ("http", "basic"),
        "password": ("oauth2", None),
    }
    flow = schemes["password"]["flows"]["password"]
    assert (flow["tokenUrl"], flow["scopes"]) == ("/api/auth/token", MEANINGS)
    assert operations["GET /api/users"] == [{scheme: ["users:read"]} for scheme in ("bearer", "password", "basic")]
    named = {scope for each in operations.values() for scope in each[0]["bearer"]}
    assert named == set(flow["scopes"]) - set(WHOLES) - {"metrics:read"}  # that route has a key of its own as well
    assert "POST /api/auth/token" not in operations
    form = document["paths"]["/api/auth/token"]["post"]["requestBody"]["content"]
    assert set(form) == {"application/x-www-form-urlencoded"}


async def test_what_is_made_leads_to_every_route_that_takes_its_id(anonymous: httpx.AsyncClient) -> None:
    """Each link names an operation that is there, with parameters of its path and values that the answer has."""
    document = (await anonymous.get("/openapi.json")).json()
    paths = {each["operationId"]: path for path, methods in document["paths"].items() for each in methods.values()}
    links = [
        (path, link)
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]

    for _, link in links:
        assert set(re.findall("{([a-z_]+)}", paths[link["operationId"]])) == set(link["parameters"])
        assert set(link["parameters"].values()) <= {"$response.body#/id", "$request.path.id"}
    reached = {paths[link["operationId"]] for _, link in links}
    one_id = {path for path in paths.values() if re.findall("{([a-z_]+)}", path) == ["id"]}
    never_made = {
        path for path in one_id if re.match("/api/(audit|erasures|auth)/", path)
    }  # by themselves, or signing in
    assert one_id - reached == never_made | {"/api/hooks/{id}"} - reached
    assert {"/api/conversations/{id}/turns", "/api/webhooks/{id}/deliveries/{delivery}/redeliver"} <= reached


async def test_no_file_outside_the_assets_is_served(anonymous: httpx.AsyncClient) -> None:
    for path in ("/docs/assets/../main.py", "/docs/assets/%2e%2e/main.py", "/docs/assets/"):
        assert (await anonymous.get(path)).status_code in {401, 404}


async def test_the_docs_can_be_switched_off(settings: Settings) -> None:
    app = build_app(settings.model_copy(update={"docs": False}))

    assert {"/docs", "/openapi.json", "/docs/assets"}.isdisjoint({getattr(route, "path", "") for route in app.routes})
