"""`verbatim doctor`: what is right, what is wrong, and what to do about it."""

import json
import os
import sys
from typing import Annotated

import typer
from pymongo.errors import PyMongoError
from rich.table import Table

from app.cli.checks.copies import backups
from app.cli.checks.encryption import encryption
from app.cli.checks.finding import Check, Finding
from app.cli.checks.machine import open_files
from app.cli.checks.members import Judgement, clocks, disks, look_at_members, oplog, replication, versions
from app.cli.running import DataOption, name_of, print_table, run
from app.config import SECRETS_VARIABLE, Settings
from app.database import DOCUMENTS, check_topology
from app.kit.errors import Invalid
from app.migrations.indexes import drift
from app.migrations.steps import reindexings
from app.services import Services

MOST_WAITING = 5000
"""So many messages may wait to be indexed: a server that builds takes them once they are a thousand."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, for programs.")] = False,
    data: DataOption = None,
) -> None:
    """Check settings, machine, database and its members, migrations, indexes, backups and models. Nothing is changed.

    Exit status: 0 all is well; 1 something is wrong, with what to do about it; 2 wrong options.
    """

    async def work(services: Services) -> dict[str, Finding]:
        members = await look_at_members(services)
        return {
            name: _JUDGEMENTS[name](members) if name in _JUDGEMENTS else await _looked(_CHECKS[name], services)
            for name in _ORDER
        }

    findings = run(data, work, looks_only=True)
    is_well = all(finding.is_good for finding in findings.values())
    if as_json:
        checks = [{"name": name, "ok": each.is_good, "finding": each.sentence} for name, each in findings.items()]
        print(json.dumps({"ok": is_well, "checks": checks}, ensure_ascii=False))
    else:
        table = Table("Check", "", "Finding")
        for name, finding in findings.items():
            table.add_row(name, "ok" if finding.is_good else "WRONG", finding.sentence)
        print_table(table)
    sys.exit(0 if is_well else 1)


async def _looked(check: Check, services: Services) -> Finding:
    """One that cannot be made says so, and the others are made all the same."""
    try:
        return await check(services)
    except PyMongoError as error:
        return Finding(False, f"cannot be looked at: {name_of(error)}")


async def _settings(_: Services) -> Finding:
    known = {f"VERBATIM_{name}".upper() for name in Settings.model_fields} | {SECRETS_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith("VERBATIM_") and name not in known)
    return Finding(not unknown, f"unknown: {', '.join(unknown)}; see .env.example" if unknown else "all known")


async def _server(services: Services) -> Finding:
    topology = await check_topology(services.database.client, services.database.name)
    faults = [mode.sentence(topology) for mode in topology.modes]
    return Finding(not faults, " ".join([str(topology), *faults]))


async def _migrations(services: Services) -> Finding:
    migrations = services.migrations
    rows = await migrations.rows()
    failed = [str(row["error"]) for row in rows.values() if row.get("state") == "failed"]
    if failed:
        return Finding(False, failed[0])
    pending = await migrations.pending("expand", "migrate")
    if pending:
        return Finding(False, f"to be done: {', '.join(map(str, pending))}; start a server or run: verbatim migrate")
    later = await migrations.pending("contract")
    if later:
        names = ", ".join(map(str, later))
        return Finding(True, f"done; once no older server runs: verbatim migrate --contract does {names}")
    return Finding(True, f"all {len(migrations.known)} are done")


async def _indexes(_: Services) -> Finding:
    found = await drift(DOCUMENTS)
    names = {kind: [str(each) for each in found if each.kind == kind] for kind in ("missing", "changed", "retired")}
    faults = [f"{kind}: {', '.join(names[kind])}" for kind in ("missing", "changed") if names[kind]]
    if faults:
        return Finding(False, f"{'; '.join(faults)}; run: verbatim migrate --rebuild-indexes")
    if names["retired"]:
        return Finding(True, f"all there; of older versions: {', '.join(names['retired'])}")
    return Finding(True, "all there")


async def _search(services: Services) -> Finding:
    if await services.migrations.pending("expand"):
        return Finding(False, "cannot be looked at before the migrations are done")
    lacking = sum([await each.lacking() for each in reindexings()])
    if lacking:
        advice = f"{lacking:,} rows are read at every search of names, e-mails or titles; run: verbatim reindex"
        return Finding(False, advice)
    waiting = await services.content_index.unmarked()
    told = f"{waiting:,} messages are not indexed yet and read at every search of messages"
    if waiting > MOST_WAITING:
        return Finding(
            False, f"{told}; is a server with VERBATIM_SEARCH_BUILDER=true running? or run: verbatim reindex"
        )
    return Finding(True, f"every row is indexed; {told}" if waiting else "every row is indexed")


async def _admin(services: Services) -> Finding:
    good = await services.users.rows.has_enabled_admin()
    return Finding(
        good,
        "there is one"
        if good
        else "nobody can administer: verbatim user role EMAIL admin, or start once with VERBATIM_BOOTSTRAP_KEY",
    )


async def _model(services: Services) -> Finding:
    model = services.settings.default_model
    try:
        services.models.check(model)
    except Invalid as error:
        return Finding(False, f"VERBATIM_DEFAULT_MODEL={model}: {error.detail}")
    return Finding(True, f"{model}; providers: {', '.join(services.models.names())}")


async def _issuer(services: Services) -> Finding:
    issuer = services.access.issuer
    if issuer is None:
        return Finding(True, "none is set up")
    fault = await issuer.jwks.fault()
    return Finding(fault is None, f"{issuer.name}: {fault or 'its keys can be used'}")


_CHECKS: dict[str, Check] = {
    "Settings": _settings,
    "Open files": open_files,
    "Database": _server,
    "Oplog": oplog,
    "TLS": encryption,
    "Migrations": _migrations,
    "Indexes": _indexes,
    "Search": _search,
    "Backup": backups,
    "Admin": _admin,
    "Default model": _model,
    "Issuer": _issuer,
}

_JUDGEMENTS: dict[str, Judgement] = {
    "Disk": disks,
    "Versions": versions,
    "Replication": replication,
    "Clock": clocks,
}
"""Checks of what the members say, who are asked once."""

_FIRST = ("Settings", "Open files", "Database")
_ORDER = (*_FIRST, *_JUDGEMENTS, *(name for name in _CHECKS if name not in _FIRST))
"""From the machine by way of the database to what is in it."""
