"""`verbatim key`: API keys."""

from datetime import timedelta
from typing import Annotated

import typer
from bson import ObjectId
from rich.table import Table

from app.auth.permissions import PERMISSIONS, Permission
from app.auth.resource import KEYS
from app.auth.schemas import KeyCreate
from app.bootstrap import ADMIN_EMAIL
from app.cli.lookup import user_id_of
from app.cli.running import DataOption, checked, print_table, run
from app.kit.clock import now
from app.kit.errors import Invalid
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING, Row
from app.kit.schemas import parse_object_id
from app.services import Services

_MOST_DAYS = 36_500

commands = typer.Typer(help="List, create and revoke API keys.", no_args_is_help=True)


@commands.command("list")
def list_keys(data: DataOption = None) -> None:
    """Show all keys, without their secrets."""

    async def work(services: Services) -> list[Row]:
        listing = parse_listing(KEYS, [("sort", "-created_at")], paged=False)
        return [row async for rows in services.keys.rows.batches(EVERYTHING, listing) for row in rows]

    table = Table("Id", "User", "Name", "Begins with", "Scopes", "Expires", "Last used")
    for row in run(data, work):
        table.add_row(
            str(row["_id"]),
            str(row["user_id"]),
            row["name"],
            row["prefix"],
            ", ".join(row["scopes"]),
            f"{row['expires_at']:%Y-%m-%d}" if row["expires_at"] else "never",
            f"{row['last_used_at']:%Y-%m-%d %H:%M}" if row["last_used_at"] else "never",
        )
    print_table(table)


@commands.command("create")
def create_key(
    email: Annotated[str, typer.Option(help="Whose key it is.")] = ADMIN_EMAIL,
    name: Annotated[str, typer.Option(help="What it is for.")] = "command line",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, write, export, admin, or a part of one such as conversations:read; repeat it for several."
        ),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=_MOST_DAYS, help="Days until it expires.", show_default="never")
    ] = None,
    data: DataOption = None,
) -> None:
    """Make a key and print it, this once."""
    scopes = _permissions(scope)
    expires_at = None if days is None else now() + timedelta(days=days)

    async def work(services: Services) -> str:
        new = checked(KeyCreate, name=name, scopes=scopes, expires_at=expires_at)
        _, secret = await services.keys.create(await user_id_of(services, email), new)
        return secret

    print(run(data, work))


def _permissions(names: list[str] | None) -> list[Permission] | None:
    for name in names or ():
        if name not in PERMISSIONS:
            raise typer.BadParameter(f"{name} is none of {', '.join(PERMISSIONS)}", param_hint="--scope")
    return [permission for permission in PERMISSIONS if permission in names] if names else None


@commands.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(help="Id of the key.")], data: DataOption = None) -> None:
    """Make a key useless: at once, or within a second where a server is running."""

    async def work(services: Services) -> None:
        await services.keys.delete(EVERYTHING, _object_id(id))

    run(data, work)
    print(f"{id} is revoked.")


def _object_id(text: str) -> ObjectId:
    try:
        return parse_object_id(text)
    except ValueError as error:
        raise Invalid(f"{text}: {error}") from error
