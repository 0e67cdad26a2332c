"""TLS between this machine and the members: whether it is on, and for how long their certificates count."""

import asyncio
import ssl
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from pymongo.asynchronous.uri_parser import parse_uri

from app.cli.checks.finding import Finding
from app.kit.clock import now
from app.services import Services

SOON_DAYS = 21
_CONNECT_SECONDS = 5.0
_LOCAL = ("127.", "::1", "localhost", "/")


async def encryption(services: Services) -> Finding:
    if services.settings.mongo_uri is None:
        return Finding(True, "none is needed: the embedded MongoDB has a socket of its owner's alone")
    uri = await parse_uri(services.settings.mongo_uri.get_secret_value())
    options = {name.lower(): value for name, value in uri["options"].items()}
    if not options.get("tls"):
        if all(str(host).startswith(_LOCAL) for host, _ in uri["nodelist"]):
            return Finding(True, "is off; all members are on this machine")
        return Finding(True, "is off: what people wrote is readable on the way to MongoDB; add tls=true to its URI")
    addresses = [each for each in services.database.client.topology_description.server_descriptions() if each[1]]
    ends = {f"{host}:{port}": await _end_of(str(host), int(port or 0), options) for host, port in addresses}
    own = options.get("tlscertificatekeyfile")
    if own:
        ends["our own"] = await asyncio.to_thread(_end_of_file, Path(str(own)))
    return _judged(ends)


def _judged(ends: dict[str, datetime | str]) -> Finding:
    faults = [f"{name}: {end}" for name, end in ends.items() if isinstance(end, str)]
    days = {name: (end - now()).days for name, end in ends.items() if isinstance(end, datetime)}
    faults += [f"the certificate of {name} ends in {left} days" for name, left in days.items() if left < SOON_DAYS]
    if faults:
        return Finding(False, f"{'; '.join(faults)}: renew them (verbatim make-certificates, or as they were made)")
    return Finding(True, f"is on; the first certificate ends in {min(days.values(), default=0)} days")


async def _end_of(host: str, port: int, options: dict[str, Any]) -> datetime | str:
    """When a member's certificate ends, or why it does not show one. Whether it is to be believed is the driver's to
    see."""
    context = await asyncio.to_thread(_context, options)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:
        return f"shows no certificate ({type(error).__name__})"
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(shown).not_valid_after_utc


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if own := options.get("tlscertificatekeyfile"):
        context.load_cert_chain(own, password=options.get("tlscertificatekeyfilepassword"))
    return context


def _end_of_file(path: Path) -> datetime | str:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return f"{path} cannot be read ({type(error).__name__})"
