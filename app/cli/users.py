"""`verbatim user`: people."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from app.audit.trail import record
from app.cli.exports import appearing, require_absent
from app.cli.lookup import user_id_of
from app.cli.running import DataOption, checked, print_table, run, sentences
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING, Row
from app.kit.responses import to_json
from app.privacy.model import Fate
from app.privacy.resource import ERASURES
from app.services import Services
from app.users.resource import USERS
from app.users.schemas import UserCreate, UserUpdate

commands = typer.Typer(help="List, create, change and delete users.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(help="E-mail of the user.")]
RoleOption = Annotated[Literal["user", "analyst", "admin"], typer.Option(help="What they may do.")]


@commands.command("list")
def list_users(data: DataOption = None) -> None:
    """Show all users."""

    async def work(services: Services) -> list[Row]:
        listing = parse_listing(USERS, [("sort", "email")], paged=False)
        return [row async for rows in services.users.rows.batches(EVERYTHING, listing) for row in rows]

    table = Table("Id", "E-mail", "Name", "Role", "Disabled", "Created")
    for row in run(data, work):
        table.add_row(
            str(row["_id"]),
            row["email"],
            row["name"],
            row["role"],
            str(row["disabled"]),
            f"{row['created_at']:%Y-%m-%d}",
        )
    print_table(table)


@commands.command("create")
def create_user(
    email: Email,
    name: Annotated[str, typer.Option(help="Name to show.")] = "",
    role: RoleOption = "user",
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password; without one they use API keys.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Add a user."""
    secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True) if password else None

    async def work(services: Services) -> Row:
        new = checked(UserCreate, email=email, name=name or email, role=role, password=secret)
        return await services.users.create(new)

    print(run(data, work)["_id"])


@commands.command("role")
def set_role(
    email: Email,
    role: Annotated[Literal["user", "analyst", "admin"], typer.Argument(help="The new role.")],
    data: DataOption = None,
) -> None:
    """Give a user another role."""

    async def work(services: Services) -> Row:
        id = await user_id_of(services, email)
        return await services.users.patch(EVERYTHING, id, {"role": role}, None, UserUpdate)

    run(data, work)
    print(f"{email} is {role} now.")


@commands.command("password")
def set_password(email: Email, data: DataOption = None) -> None:
    """Give a user a new password, which ends their sessions."""
    secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True)

    async def work(services: Services) -> Row:
        id = await user_id_of(services, email)
        checked(UserCreate, email=email, name=email, password=secret)
        return await services.users.patch(EVERYTHING, id, {"password": secret}, None, UserUpdate)

    run(data, work)
    print(f"{email} has a new password.")


@commands.command("logout")
def log_out(email: Email, data: DataOption = None) -> None:
    """End all sessions of a user; their API keys stay."""

    async def work(services: Services) -> None:
        await services.access.sessions.end_all(await user_id_of(services, email))

    run(data, work)
    print(f"{email} is logged out everywhere.")


@commands.command("delete")
def delete_user(
    email: Email,
    conversations: Annotated[
        Literal["delete", "keep"] | None, typer.Option(help="What becomes of their conversations.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = None,
) -> None:
    """Remove a user and their keys."""
    if not yes:
        typer.confirm(f"Remove {email}?", abort=True)
    fate: Fate | None = conversations

    async def work(services: Services) -> None:
        await services.privacy.erasures.erase(EVERYTHING, await user_id_of(services, email), fate)

    run(data, work)
    print(f"{email} is removed.")


@commands.command("erase")
def erase_user(
    email: Email,
    conversations: Annotated[
        Literal["delete", "keep"], typer.Option(help="What becomes of their conversations.")
    ] = "delete",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = None,
) -> None:
    """Erase a user with all that is theirs, and show the receipt."""
    if not yes:
        typer.confirm(f"Erase {email} with all that is theirs?", abort=True)
    fate: Fate = conversations

    async def work(services: Services) -> Row:
        erasures = services.privacy.erasures
        id = await erasures.erase(EVERYTHING, await user_id_of(services, email), fate)
        return await erasures.rows.get(EVERYTHING, id)

    print(to_json(ERASURES.render(run(data, work))).decode())


@commands.command("data")
def export_data(
    email: Email,
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip to write.")],
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    data: DataOption = None,
) -> None:
    """Write everything that is stored of a user to a zip, whole or not at all."""
    with sentences():
        require_absent(output, force=force)

    async def work(services: Services) -> int:
        id = await user_id_of(services, email)
        await record("user.data-exported", "users", id, subject_id=id)
        async with aclosing(services.privacy.data.of(id)) as chunks, appearing(output) as (file,):
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
            return file.tell()

    print(f"{output}: {run(data, work):,} bytes")
