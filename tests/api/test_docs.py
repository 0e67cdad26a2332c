"""/docs: the interactive documentation."""

import re

import httpx

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


async def test_no_file_outside_the_assets_is_served(anonymous: httpx.AsyncClient) -> None:
    for path in ("/docs/assets/../main.py", "/docs/assets/%2e%2e/main.py", "/docs/assets/"):
        assert (await anonymous.get(path)).status_code in {401, 404}


async def test_the_docs_can_be_switched_off(settings: Settings) -> None:
    app = build_app(settings.model_copy(update={"docs": False}))

    assert {"/docs", "/openapi.json", "/docs/assets"}.isdisjoint({getattr(route, "path", "") for route in app.routes})
