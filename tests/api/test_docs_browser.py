"""/docs in a real browser, under its content security policy: signing in with Authorize, and trying a route."""

from pathlib import Path

import pytest

from app.services import Services
from tests.auth.signing_in import PASSWORD, give_password
from tests.browser import NAMES, Browser, find_chromium
from tests.conftest import Person

pytestmark = [
    pytest.mark.mongod,
    pytest.mark.slow,
    pytest.mark.timeout(300),  # a machine that is busy draws slowly
    pytest.mark.skipif(find_chromium() is None, reason=f"needs a Chromium: none of {', '.join(NAMES)} is on the PATH"),
]

SIGN_IN = ".auth-container:has(#oauth_username)"
ME = "#operations-users-read_me_api_users_me_get"


async def test_authorize_signs_in_and_a_route_can_be_tried(
    live_url: str, services: Services, ana: Person, cheap_passwords: None, tmp_path: Path
) -> None:
    await give_password(services, ana)
    program = find_chromium()
    assert program is not None
    async with Browser(program, tmp_path / "profile") as browser:
        await browser.open(f"{live_url}/docs")
        await browser.click(".btn.authorize")
        await browser.enter("#oauth_username", ana.email)
        await browser.enter("#oauth_password", PASSWORD)
        await browser.click(f"{SIGN_IN} button.authorize")
        await browser.read(".modal-ux-content", "Logout")
        await browser.click(".modal-ux .close-modal")

        await browser.click(f"{ME} .opblock-summary-control")
        await browser.click(f"{ME} .execute")
        status = await browser.read(f"{ME} .live-responses-table tbody .response-col_status")
        answered = await browser.read(f"{ME} .live-responses-table tbody .response-col_description pre")
        violations = await browser.violations()

    assert status.startswith("200"), answered
    assert ana.email in answered
    assert violations == []
