"""Which addresses belong together: who can send from one of them can send from all."""

from functools import lru_cache
from ipaddress import ip_address, ip_network

_IPV6_HOME = 64
"""Who has one IPv6 address has the 2^64 beside it as well."""


@lru_cache(maxsize=10_000)
def neighbourhood(address: str) -> str:
    """The address, or the network of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]  # a unix socket, or a test
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _IPV6_HOME), strict=False))
