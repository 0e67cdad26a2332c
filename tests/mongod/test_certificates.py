"""Certificates of members: kept while they do, made anew when they do not, and never without their authority's key."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from app.kit.errors import Invalid
from app.mongod import certificates
from app.mongod.certificates import TlsFiles, make_certificates


def _certificate(files: TlsFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def _names(files: TlsFiles) -> list[str]:
    names = _certificate(files).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def test_a_certificate_is_the_authoritys_and_of_every_host(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls", ["mongo1", "10.0.0.2"])
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())

    _certificate(files).verify_directly_issued_by(authority)
    assert _names(files) == ["mongo1", "10.0.0.2", "localhost", "127.0.0.1"]
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.pem": 0o444, "ca.key": 0o400, "member.pem": 0o400}


def test_what_does_is_kept(tmp_path: Path) -> None:
    first = make_certificates(tmp_path, ["mongo1", "mongo2"]).certificate.read_bytes()

    assert make_certificates(tmp_path, ["mongo2"]).certificate.read_bytes() == first


def test_a_further_host_gets_a_certificate_of_the_same_authority(tmp_path: Path) -> None:
    believed = make_certificates(tmp_path, ["mongo1"]).authority.read_bytes()
    files = make_certificates(tmp_path, ["mongo1", "mongo2"])

    assert files.authority.read_bytes() == believed
    assert "mongo2" in _names(files)


def test_one_that_soon_ends_or_is_damaged_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_MEMBER_DAYS", timedelta(days=59))
        old = _certificate(make_certificates(tmp_path, ["mongo1"]))
    files = make_certificates(tmp_path, ["mongo1"])
    assert _certificate(files).not_valid_after_utc > old.not_valid_after_utc
    assert _certificate(files).not_valid_after_utc > datetime.now(UTC) + timedelta(days=800)

    files.certificate.chmod(0o600)
    files.certificate.write_text("-----BEGIN CERTIFICATE-----\n")
    assert "mongo1" in _names(make_certificates(tmp_path, ["mongo1"]))


def test_an_authority_without_its_key_makes_nothing(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["mongo1"])
    (tmp_path / "ca.key").unlink()

    with pytest.raises(Invalid, match=r"ca\.key is missing"):
        make_certificates(tmp_path, ["mongo1"])


@pytest.mark.parametrize("host", ["", "mongo1:27017", "a b", "../up", "-mongo", "a,b"])
def test_what_is_no_host_is_refused_before_anything_is_made(tmp_path: Path, host: str) -> None:
    with pytest.raises(Invalid, match="is no host's name or address"):
        make_certificates(tmp_path / "tls", [host])
    assert not (tmp_path / "tls").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_members_that_run_as_another_user_own_their_file(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, ["mongo1"], owner=999)

    assert files.certificate.stat().st_uid == 999
    assert (tmp_path / "ca.key").stat().st_uid == 0
