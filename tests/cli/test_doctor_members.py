"""`verbatim doctor` on a replica set of several members: states, lag, clocks, versions, certificates."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from app.cli.checks.encryption import _judged
from app.cli.checks.finding import Finding
from app.cli.checks.members import Member, clocks, disks, replication, versions
from app.mongod import find_mongod
from app.mongod.local_set import LocalReplicaSet
from tests.cli.command import Verbatim, Worker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def member(address: str = "a:1", state: str = "primary", **facts: Any) -> Member:
    return Member(address, **{"state": state, "version": "7.0.1", "written_at": NOW, "free": 5 * 1024**3, **facts})


def test_members_that_are_well_are_told() -> None:
    members = [member(), member("b:1", "secondary", written_at=NOW - timedelta(seconds=3)), member("c:1", "arbiter")]

    assert replication(members) == Finding(True, "a:1 is primary; b:1 3 s behind")
    assert clocks(members).is_good
    assert disks(members).is_good
    assert versions(members).is_good
    assert "7.0.1" in versions(members).sentence
    old = versions([member(version="6.0.5")])
    assert old.is_good
    assert "MongoDB 6.0 gets no more fixes since July 2025" in old.sentence


@pytest.mark.parametrize(
    ("ill", "check", "words"),
    [
        (member("b:1", "secondary", written_at=NOW - timedelta(seconds=60)), replication, "b:1 is 60 s behind"),
        (member("b:1", "unreachable", fault="AutoReconnect"), replication, "b:1 is unreachable (AutoReconnect)"),
        (member("b:1", "neither primary nor secondary"), replication, "b:1 is neither primary nor secondary"),
        (member("b:1", "secondary", skew=-3.2), clocks, "b:1 by -3.2 s"),
        (member("b:1", "secondary", free=1000), disks, "0.0 GiB free for b:1"),
        (member("b:1", "secondary", version="6.0.5"), versions, "6.0.5, 7.0.1"),
    ],
)
def test_a_member_that_is_not_well_is_named(ill: Member, check: Any, words: str) -> None:
    finding = check([member(), ill])

    assert not finding.is_good
    assert words in finding.sentence


def test_certificates_that_soon_end_are_named() -> None:
    soon, late = (datetime.now(UTC) + timedelta(days=days, hours=1) for days in (20, 300))

    assert _judged({"a:1": late}) == Finding(True, "is on; the first certificate ends in 300 days")
    assert "the certificate of a:1 ends in 20 days" in _judged({"a:1": soon, "b:1": late}).sentence
    assert not _judged({"a:1": "shows no certificate (TimeoutError)"}).is_good


@pytest.mark.mongod
@pytest.mark.slow
async def test_members_are_asked_with_least_privilege_over_tls(tmp_path: Path) -> None:
    worker = Worker()
    mongod = await asyncio.to_thread(find_mongod, None)
    try:
        async with LocalReplicaSet(tmp_path / "set", mongod, 3, tls=True) as members:
            verbatim = Verbatim(worker, members.uri, "verbatim", tmp_path)
            well = await _found(verbatim)
            empty = {"Migrations", "Indexes", "Search", "Admin"}  # nobody has started a server yet
            assert {name for name, (is_good, _) in well.items() if not is_good} == empty
            assert "is primary; " in well["Replication"][1]
            assert well["Disk"][1].count("GiB free for 127.0.0.1:") == 3
            assert "this user may not see it" in well["Oplog"][1]
            certificate = x509.load_pem_x509_certificate((tmp_path / "set" / "tls" / "member.pem").read_bytes())
            days = (certificate.not_valid_after_utc - datetime.now(UTC)).days
            assert well["TLS"] == (True, f"is on; the first certificate ends in {days} days")

            primary = await members.primary()
            lost = next(each for each in members.members if each is not primary)
            await lost.kill()
            ill = await _found(verbatim)
            assert not ill["Replication"][0]
            assert f"{lost.host} is unreachable" in ill["Replication"][1]
            assert f"{lost.host}: shows no certificate" in ill["TLS"][1]
    finally:
        worker.close()


async def _found(verbatim: Verbatim) -> dict[str, tuple[bool, str]]:
    done = await asyncio.to_thread(verbatim, "doctor", "--json", status=1)
    return {each["name"]: (each["ok"], each["finding"]) for each in json.loads(done.stdout)["checks"]}
