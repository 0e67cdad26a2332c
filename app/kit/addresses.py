"""Where the server may connect to on behalf of a user: the public internet, and what the operator has allowed.

A name is resolved once, every address it has is judged, and the connection goes to exactly these: nobody asks the name
server again in between (DNS rebinding). Addresses are judged by what is open, not by what is closed: a range that a
later standard sets apart is refused until somebody opens it.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

MAX_URL_CHARACTERS = 2048

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[[str, int, int], Awaitable[list[ResolveResult]]]
"""The addresses of a host and port, of one family or of any (0); raises OSError."""

_CLOSED = (
    IPv4Network("168.63.129.16/32"),  # Azure's own services, a public address that only its machines reach
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address in disguise
    IPv6Network("3fff::/20"),  # documentation
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_LIKE_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")
"""Hosts that C libraries read as IPv4 addresses: 2130706433, 0x7f.1, 127.1."""
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})")


class ForbiddenAddress(OSError):
    """A URL or address the server does not connect to; the message says why. An OSError, as resolvers raise."""


class AddressGuard:
    """`allow`: names of hosts, addresses and networks (`10.1.0.0/16`) that may be connected to besides."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in allow:
            network = network_of(entry)
            if network is None:
                self._hosts.add(entry.lower().rstrip("."))
            else:
                self._networks.append(network)

    def check_url(self, text: str) -> URL:
        """The URL in its only reading; raises ForbiddenAddress.

        https only, unless the operator has allowed the host by name or address.
        """
        url, host = _parsed(text)
        address = _address(host)
        if address is not None:
            self.check_address(host, address)
        is_allowed = host in self._hosts or (address is not None and self._is_allowed(address))
        if url.scheme != "https" and not is_allowed:
            raise ForbiddenAddress("must begin with https:// (the operator may allow a host for http, too)")
        return url

    def check_address(self, host: str, address: Address) -> None:
        """Raises ForbiddenAddress unless the host may be reached at this address."""
        if host.lower().rstrip(".") in self._hosts or self._is_allowed(address) or is_public(address):
            return
        raise ForbiddenAddress(f"{host} is at {address}, which is not on the public internet")

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)


class GuardedResolver(AbstractResolver):
    """The resolver of an aiohttp connector that connects only where the guard lets it.

    One address of a name that may not be connected to is enough to refuse the name: an honest one has none.
    """

    def __init__(self, guard: AddressGuard, lookup: Lookup | None = None) -> None:
        """`lookup`: asks the name servers; the operating system's when left out."""
        self._guard = guard
        self._lookup = lookup or _ask_system

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup(host, port, family)
        for each in found:
            self._guard.check_address(host, ip_address(each["host"]))
        return found

    async def close(self) -> None:
        """Nothing is held open."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, whatever form it has."""
    if any(address in network for network in _CLOSED if network.version == address.version):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_UNICAST and address.is_global and address.scope_id is None


def network_of(text: str) -> Network | None:
    """The network, or the network of one address; None for what is neither. Raises ValueError for half of one."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        if "/" in text or ":" in text or not _HOST.fullmatch(text) or _LIKE_A_NUMBER.fullmatch(text):
            raise
        return None


def _parsed(text: str) -> tuple[URL, str]:
    """The URL and its host; raises ForbiddenAddress for what two programs could read in two ways."""
    if len(text) > MAX_URL_CHARACTERS or re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise ForbiddenAddress(f"has spaces, control characters, backslashes or over {MAX_URL_CHARACTERS} characters")
    try:
        url = URL(text)
        port, host = url.port, (url.raw_host or "").lower()
    except ValueError as error:
        raise ForbiddenAddress("is no URL") from error
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]  # yarl drops what is empty
    is_plain = _is_host(host) and ("[" in authority) == (":" in host)
    for is_wrong, sentence in (
        (url.scheme not in {"http", "https"} or not host, "is no URL such as https://example.com/hook"),
        ("@" in authority or url.user is not None, "must not hold a user's name"),
        (bool(url.raw_fragment) or text.endswith("#"), "must not have a fragment"),
        (port == 0, "has no port 0"),
        (not is_plain, f"has a host that is no name and no plain address: {host}"),
    ):
        if is_wrong:
            raise ForbiddenAddress(sentence)
    return url, host.rstrip(".")


def _is_host(host: str) -> bool:
    if _address(host) is not None:
        return "%" not in host
    return bool(_HOST.fullmatch(host)) and not _LIKE_A_NUMBER.fullmatch(host)


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


async def _ask_system(host: str, port: int, family: int) -> list[ResolveResult]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
    return [
        ResolveResult(
            hostname=host, host=str(sockaddr[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
        )
        for kind, _, proto, _, sockaddr in infos
    ]
