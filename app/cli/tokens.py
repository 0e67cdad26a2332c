"""`verbatim token`: the keys that sign access tokens."""

from typing import Annotated

import typer

from app.auth.signing import Key
from app.cli.running import DataOption, run
from app.services import Services

commands = typer.Typer(help="See to the keys that sign access tokens.", no_args_is_help=True)


@commands.command("rotate")
def rotate(
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="End all tokens that were signed so far: the old keys may be known.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Sign with a new key from now on; sessions go on, with new tokens."""

    async def work(services: Services) -> Key:
        return await services.access.signing_keys.rotate(withdraw=withdraw)

    print(f"{run(data, work).kid} signs now.")
