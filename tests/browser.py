"""A real browser without a window: Chromium, told what to do over its DevTools protocol.

async with Browser(find_chromium(), folder) as browser:
    await browser.open("http://127.0.0.1:8000/docs")
    await browser.click("button.authorize")
"""

import asyncio
import json
import re
import shutil
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import websockets.asyncio.client

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers, where it cannot be had
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)
_PATIENCE = 90.0
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""
_WAIT_FOR = """
new Promise((resolve) => {
  const look = () => {
    const found = %s;
    if (found) resolve(found); else setTimeout(look, 20);
  };
  look();
})
"""


def find_chromium() -> str | None:
    """Where there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of one browser with a profile of its own; an asynchronous context manager."""

    def __init__(self, program: str, profile: Path) -> None:
        self._program = program
        self._profile = profile
        self._numbers = count(1)
        self._session: str | None = None

    async def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded. What its policy forbids is noted from its first byte on."""
        await self._call("Page.addScriptToEvaluateOnNewDocument", source=_NOTE_VIOLATIONS)
        await self._call("Page.navigate", url=url)
        await self.evaluate(_WAIT_FOR % "document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """What an expression becomes in the page, when it is a promise what that does."""
        result = await self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def read(self, selector: str, part: str = "") -> str:
        """The text of an element, once it has this part."""
        element = f"document.querySelector({json.dumps(selector)})"
        has_part = f"{element}?.textContent.includes({json.dumps(part)})"
        return str(await self.evaluate(_WAIT_FOR % f"{has_part} && {element}.textContent"))

    async def click(self, selector: str) -> None:
        """Click an element, once it is there and shown. No mouse moves: its place comes with a picture."""
        element = f"document.querySelector({json.dumps(selector)})"
        await self.evaluate(_WAIT_FOR % f"!!{element}?.getClientRects().length")
        await self.evaluate(f"{element}.click()")

    async def enter(self, selector: str, text: str) -> None:
        """Enter a text into a field, as a keyboard does."""
        await self.click(selector)
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        await self._call("Input.insertText", text=text)

    async def violations(self) -> list[str]:
        """What the page tried that its content security policy forbids."""
        found: list[str] = await self.evaluate("window.violations")
        return found

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        id = next(self._numbers)
        session = {} if self._session is None else {"sessionId": self._session}
        await self._connection.send(json.dumps({"id": id, "method": method, "params": params, **session}))
        async with asyncio.timeout(_PATIENCE):
            while (answer := json.loads(await self._connection.recv())).get("id") != id:
                pass  # events, which nobody waits for
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(self._program, *OPTIONS, f"--user-data-dir={self._profile}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await self._attach()
        except BaseException:
            await self._end()
            raise
        return self

    async def _attach(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            address = await self._address()
        self._draining = asyncio.create_task(self._drain())
        self._connection = await websockets.asyncio.client.connect(address, max_size=None, proxy=None)
        target = (await self._call("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self._call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await self._call("Page.enable")

    async def _address(self) -> str:
        assert self._process.stderr is not None
        said = ""
        while line := (await self._process.stderr.readline()).decode(errors="replace"):
            said += line
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                return found.group(1)
        raise AssertionError(f"Chromium does not start:\n{said}")

    async def _drain(self) -> None:
        """Read on what it logs: a full pipe would stop it."""
        assert self._process.stderr is not None
        while await self._process.stderr.read(65536):
            pass

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.close()
        await self._end()
        await self._draining
