"""A certificate authority of one's own and a certificate for the members of a replica set: they and their clients speak
TLS without anybody else's help.

The folder: `ca.pem` (whom to believe; anybody may have it), `ca.key` (makes further certificates; its owner's alone),
and `member.pem` (certificate and key of all members, as mongod reads them; its owner's alone). What is there stays as
it is, but a certificate that soon ends, lacks a host or is another authority's is replaced.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.kit.clock import now
from app.kit.errors import Invalid

AUTHORITY_FILE, MEMBER_FILE = "ca.pem", "member.pem"
_KEY_FILE = "ca.key"
_AUTHORITY_DAYS = timedelta(days=3650)
_MEMBER_DAYS = timedelta(days=825)
_RENEWED_BEFORE = timedelta(days=60)
_LENIENCE = timedelta(hours=1)
"""Clocks may differ by so much."""
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LOCAL = ("localhost", "127.0.0.1")
"""Every member may be asked from its own machine, as the first one has to be."""

_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class TlsFiles:
    """What a member needs: whom it believes, and what it shows (certificate and key in one file)."""

    authority: Path
    certificate: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Of mongod. Clients log in by password and need no certificate; members show theirs to each other."""
        return (
            *("--tlsMode", "requireTLS", "--tlsDisabledProtocols", "TLS1_0,TLS1_1"),
            *("--tlsCAFile", str(self.authority), "--tlsCertificateKeyFile", str(self.certificate)),
            "--tlsAllowConnectionsWithoutCertificates",
        )


def client_options(authority: Path | None) -> dict[str, Any]:
    """Those of a client of members that speak TLS; none where they do not."""
    return {} if authority is None else {"tls": True, "tlsCAFile": str(authority)}


def make_certificates(folder: Path, hosts: Sequence[str], *, owner: int | None = None) -> TlsFiles:
    """The files of the members on `hosts`, made where they are missing or do no more.

    `owner`: the user that members run as, when somebody else makes their file. Raises Invalid for what is no host, and
    for an authority whose key is not there any more; OSError.
    """
    for host in hosts:
        if not _HOST_NAME.fullmatch(host):
            raise Invalid(f"{host!r} is no host's name or address, such as mongo1 or 10.0.0.1; leave its port out.")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    authority, key = _authority(folder)
    file = folder / MEMBER_FILE
    names = [_general_name(each) for each in dict.fromkeys((*hosts, *_LOCAL))]
    if not _is_good(file, names, authority):
        _write(file, _member(names, authority, key), mode=0o400)
    if owner is not None:
        os.chown(file, owner, -1)
    return TlsFiles(folder / AUTHORITY_FILE, file)


def _authority(folder: Path) -> tuple[x509.Certificate, _Key]:
    file, key_file = folder / AUTHORITY_FILE, folder / _KEY_FILE
    if file.exists() and key_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Invalid(f"{key_file} is no key that was made here: choose another folder.")
        return x509.load_pem_x509_certificate(file.read_bytes()), key
    if file.exists():
        raise Invalid(f"{key_file} is missing, with which certificates are made: bring it back, or remove {file} too.")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Verbatim {os.urandom(4).hex()}")])
    builder = _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())
    _write(key_file, _pem(key), mode=0o400)
    _write(file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o444)
    return certificate, key


def _member(names: Sequence[x509.GeneralName], authority: x509.Certificate, authority_key: _Key) -> bytes:
    """Certificate and key of members, each of which is a server to clients and a client to other members."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Members of a replica set")])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, authority.subject, key.public_key(), _MEMBER_DAYS)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName(names), False),
        (x509.ExtendedKeyUsage(usages), False),
        (_usage(signs_certificates=False), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(authority_key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM) + _pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    moment = now()
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _LENIENCE)
        .not_valid_after(moment + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_good(file: Path, names: Sequence[x509.GeneralName], authority: x509.Certificate) -> bool:
    """Whether a file is there whose certificate is the authority's, of all the names, and counts for long enough."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        certificate.verify_directly_issued_by(authority)
    except (FileNotFoundError, ValueError, InvalidSignature):
        return False
    own = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= set(own) and certificate.not_valid_after_utc - _RENEWED_BEFORE > now()


def _pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes, *, mode: int) -> None:
    """Whole or not at all, and never readable by others in between."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.chmod(mode)
    draft.replace(file)
