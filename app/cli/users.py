"""`verbatim user`: people."""

from typing import Annotated, Literal

import typer
from rich.table import Table

from app.cli.lookup import user_id_of
from app.cli.running import DataOption, checked, print_table, run
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING, Row
from app.services import Fate, Services
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
        await services.delete_user(EVERYTHING, await user_id_of(services, email), fate)

    run(data, work)
    print(f"{email} is removed.")
