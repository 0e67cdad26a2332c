"""`verbatim`: the command line. It uses the same services as the API, beside a running server or without one."""

import typer

from app.cli import (
    backup,
    capacity,
    doctor,
    exports,
    imports,
    keys,
    migrate,
    openapi,
    reindex,
    replica_set,
    restore,
    serve,
    tokens,
    training,
    users,
)

_app = typer.Typer(
    name="verbatim",
    help="People and their conversations with language models, word for word.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_app.command("serve")(serve.serve)
_app.add_typer(imports.commands, name="import")
_app.command("export")(exports.export)
_app.command("export-training")(training.export_training)
_app.add_typer(users.commands, name="user")
_app.add_typer(keys.commands, name="key")
_app.add_typer(tokens.commands, name="token")
_app.command("doctor")(doctor.doctor)
_app.command("migrate")(migrate.migrate)
_app.command("backup")(backup.backup)
_app.command("restore")(restore.restore)
_app.command("reindex")(reindex.reindex)
_app.command("replica-set")(replica_set.replica_set)
_app.command("init-replica-set")(replica_set.init_replica_set)
_app.command("make-certificates")(replica_set.make_members_certificates)
_app.command("capacity")(capacity.capacity)
_app.command("openapi")(openapi.openapi)


def main() -> None:
    """The console script."""
    _app()
