"""Requests that somebody wants the server to make elsewhere: name servers that change their mind, and redirects."""

from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from app.kit.addresses import AddressGuard
from app.webhooks.sender import Sender
from tests.webhooks.receiver import Receiver


def answer(host: str, address: str, port: int) -> list[ResolveResult]:
    return [ResolveResult(hostname=host, host=address, port=port, family=2, proto=0, flags=0)]


class NameServer:
    """Answers each question with the next of its addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.questions: list[str] = []

    async def __call__(self, host: str, port: int, _: int) -> list[ResolveResult]:
        self.questions.append(host)
        return answer(host, self.addresses.pop(0), port)


async def test_a_name_is_asked_once_and_its_answer_is_where_the_connection_goes(receiver: Receiver) -> None:
    """The second answer is another one, and nobody asks for it."""
    names = NameServer("127.0.0.1", "10.255.255.1")
    sender = Sender(AddressGuard(["127.0.0.1", "hooks.example"]), timeout=5, lookup=names)
    try:
        attempt = await sender.post(f"http://hooks.example:{receiver.port}/", {}, b"{}")
    finally:
        await sender.aclose()

    assert (attempt.status, names.questions) == (200, ["hooks.example"])


async def test_a_name_that_moves_to_a_private_address_is_refused_then(receiver: Receiver) -> None:
    names = NameServer("127.0.0.2", "127.0.0.1")
    guard = AddressGuard(["127.0.0.2"])
    guard._hosts.add("nothing")
    sender = Sender(guard, timeout=5, lookup=names)
    url = f"https://rebind.example:{receiver.port}/"
    try:
        first = await sender.post(url, {}, b"{}")  # nobody speaks TLS there, but it may be connected to
        second = await sender.post(url, {}, b"{}")
    finally:
        await sender.aclose()

    assert first.error is not None
    assert "may not" not in first.error
    assert second.error == (
        "The receiver may not be connected to: rebind.example is at 127.0.0.1, which is not on the public internet."
    )
    assert receiver.received == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "64:ff9b::7f00:1"])
async def test_names_of_private_addresses(receiver: Receiver, address: str) -> None:
    sender = Sender(AddressGuard(), timeout=5, lookup=NameServer(address))
    try:
        attempt = await sender.post(f"https://innocent.example:{receiver.port}/", {}, b"{}")
    finally:
        await sender.aclose()

    assert attempt.error is not None
    assert "may not be connected to" in attempt.error
    assert receiver.received == []


@pytest.mark.parametrize("url", ["https://2130706433/", "https://0x7f.1/", "https://[::1]/", "https://127.0.0.1/"])
async def test_urls_that_were_stored_before_are_judged_again(url: str) -> None:
    async def never(*_: Any) -> list[ResolveResult]:
        raise AssertionError("nobody needs to ask")

    sender = Sender(AddressGuard(), timeout=5, lookup=never)
    attempt = await sender.post(url, {}, b"{}")
    await sender.aclose()

    assert attempt.error is not None
    assert attempt.status is None


async def test_a_name_that_does_not_exist() -> None:
    async def unknown(*_: Any) -> list[ResolveResult]:
        raise OSError("Name or service not known")

    sender = Sender(AddressGuard(), timeout=5, lookup=unknown)
    attempt = await sender.post("https://nowhere.example/", {}, b"{}")
    await sender.aclose()

    assert attempt.error == "The receiver has a name that cannot be resolved."


async def test_redirects_lead_nowhere(receiver: Receiver) -> None:
    sender = Sender(AddressGuard(["127.0.0.0/8"]), timeout=5)
    attempt = await sender.post(receiver.url("redirect"), {}, b"{}")
    await sender.aclose()

    assert (attempt.is_ok, attempt.status) == (False, 307)
    assert [each.path for each in receiver.received] == ["/redirect"]
