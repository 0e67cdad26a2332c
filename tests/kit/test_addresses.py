"""Where the server may not be made to connect to."""

from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from app.kit.addresses import AddressGuard, ForbiddenAddress, GuardedResolver, is_public, network_of

CLOSED = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
    *("100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1", "192.88.99.1", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255", "192.0.0.170"),
    *("::1", "::", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1", "5f00::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1", "fe80::1%eth0"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1", "2001::1"),
    "100::1",
]
OPEN = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "64:ff9b::8.8.8.8"]

NOT_URLS = [
    "",
    "hooks.example.com",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "https://",
    "https:///path",
    "http://hooks.example.com/",  # no TLS
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com/#fragment",
    "https://example.com/#",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:port/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/a b",
    "https://example.com/\nHost: other",
    "https://exa\tmple.com/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://127.0.0.1./",
    "https://0177.0.0.1/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[fe80::1%25eth0]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[v1.x]/",
    "https://exa%6dple.com/",
    "https://-example.com/",
    "https://169.254.169.254/latest/meta-data/",
    "https://example.com/" + "a" * 2048,
]


@pytest.mark.parametrize("text", CLOSED)
def test_addresses_that_are_not_on_the_public_internet(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", OPEN)
def test_addresses_that_are(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("url", NOT_URLS)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        AddressGuard().check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://EXAMPLE.com:8443/hook?token=a%2Fb",
        "https://bücher.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://hooks.127.example.com/",
        "https://under_score.example.com/",
    ],
)
def test_urls_that_are_not(url: str) -> None:
    AddressGuard().check_url(url)


def test_what_the_operator_allows() -> None:
    guard = AddressGuard(["Hooks.internal", "10.1.0.0/16", "192.168.1.5", "fd00::/8"])

    for url in ("http://hooks.internal/", "http://10.1.2.3/", "http://192.168.1.5:8080/", "http://[fd00::1]/x"):
        guard.check_url(url)
    guard.check_address("hooks.internal", ip_address("127.0.0.1"))
    guard.check_address("elsewhere.example.com", ip_address("10.1.9.9"))
    for url in ("http://10.2.0.1/", "http://192.168.1.6/", "http://[::ffff:10.1.2.3]/", "http://not.hooks.internal/"):
        with pytest.raises(ForbiddenAddress):
            guard.check_url(url)
    with pytest.raises(ForbiddenAddress):
        guard.check_address("hooks.internal.example.com", ip_address("127.0.0.1"))


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "http://x", "a b", "2130706433", "::g", ""])
def test_what_is_no_entry_of_an_allow_list(entry: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        network_of(entry)


def answers(*hosts: str) -> list[ResolveResult]:
    return [ResolveResult(hostname="x", host=host, port=443, family=0, proto=0, flags=0) for host in hosts]


async def test_one_closed_address_is_enough_to_refuse_a_name() -> None:
    async def lookup(*_: Any) -> list[ResolveResult]:
        return answers("8.8.8.8", "127.0.0.1")

    with pytest.raises(ForbiddenAddress, match=r"rebind.example is at 127.0.0.1"):
        await GuardedResolver(AddressGuard(), lookup).resolve("rebind.example", 443)


async def test_the_systems_resolver_reads_localhost() -> None:
    with pytest.raises(ForbiddenAddress, match="localhost is at"):
        await GuardedResolver(AddressGuard()).resolve("localhost", 443)

    found = await GuardedResolver(AddressGuard(["127.0.0.0/8", "::1"])).resolve("localhost", 443)
    assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}
