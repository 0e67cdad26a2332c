"""`verbatim replica-set`: a real replica set for one machine, to try out what happens when members die.
`verbatim init-replica-set`: what makes a replica set of members that run elsewhere, such as in containers.
`verbatim make-certificates`: what such members speak TLS with."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from app.cli.running import console, read_settings, sentences
from app.kit.errors import Invalid
from app.mongod import MongodUnavailable, find_mongod
from app.mongod.certificates import make_certificates
from app.mongod.initiation import Plan, initiate
from app.mongod.local_set import MAX_MEMBERS, LocalReplicaSet
from app.mongod.replica_set import REPLICA_SET


def replica_set(
    data: Annotated[Path, typer.Option("--data", help="Folder of the members, their addresses and passwords.")],
    members: Annotated[int, typer.Option(min=1, max=MAX_MEMBERS, help="How many; a folder keeps its number.")] = 3,
    tls: Annotated[
        bool, typer.Option("--tls", help="Speak TLS, with certificates that are made in the folder (tls/).")
    ] = False,
    print_uri: Annotated[
        bool, typer.Option("--print-uri", help="Print the URI alone on standard output, for scripts.")
    ] = False,
) -> None:
    """Run a MongoDB replica set on loopback, with a key file and authentication, until Ctrl-C.

    An election takes about three seconds. Kill a member by its process id and watch: it is started again.
    """
    with sentences():
        settings = read_settings()
        made = LocalReplicaSet(data, find_mongod(settings.mongod), members, tls=tls)
        asyncio.run(_run(made, print_uri=print_uri))


def init_replica_set(
    members: Annotated[str, typer.Argument(help="Addresses as clients know them: mongo1:27017,mongo2:27017,...")],
    address: Annotated[
        str, typer.Option(help="The first member on this very machine, which is what MongoDB trusts at first.")
    ] = "127.0.0.1:27017",
    name: Annotated[str, typer.Option(help="Name of the replica set.")] = REPLICA_SET,
    seconds: Annotated[float, typer.Option(min=1, help="How long to wait for members that start.")] = 120,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="Members speak TLS: whose certificates they have (a PEM file).")
    ] = None,
) -> None:
    """Make a replica set with users out of members that run with a key file; done again, it changes nothing.

    Passwords: VERBATIM_MONGO_ADMIN_PASSWORD of the admin, VERBATIM_MONGO_PASSWORD of the application, who may read and
    write VERBATIM_DATABASE alone. A new password of the application is set.
    """
    with sentences():
        settings = read_settings()
        plan = Plan(
            name,
            [host.strip() for host in members.split(",")],
            _required(settings.mongo_admin_password, "VERBATIM_MONGO_ADMIN_PASSWORD"),
            _required(settings.mongo_password, "VERBATIM_MONGO_PASSWORD"),
            settings.database,
            tls_ca,
        )
        if tls_ca is not None and not tls_ca.is_file():
            raise Invalid(f"--tls-ca: there is no file {tls_ca}.")
        try:
            initiate(address, plan, seconds=seconds)
        except TimeoutError as error:
            raise MongodUnavailable(f"There was no primary within {seconds:g} s: do all of {members} run?") from error
    print(f"{name}: {members}")


def make_members_certificates(
    folder: Annotated[Path, typer.Argument(help="Where they are kept: ca.pem, ca.key and member.pem.")],
    hosts: Annotated[list[str], typer.Argument(help="Members as clients know them, without ports: mongo1 mongo2 ...")],
    owner: Annotated[
        int | None, typer.Option(help="Number of the user that mongod runs as, when root makes them for it.")
    ] = None,
) -> None:
    """Make a certificate authority and a certificate for the members of a replica set; done again, it keeps them.

    Members get member.pem and ca.pem, clients ca.pem; ca.key stays with you. A certificate counts for 825 days. It is
    made anew when it ends within 60 days or lacks a host: start the members one after the other then.
    """
    with sentences():
        try:
            files = make_certificates(folder, hosts, owner=owner)
        except OSError as error:
            raise Invalid(f"{folder} cannot be used ({error.strerror}: {error.filename}).") from error
    print(f"{files.authority}\n{files.certificate}")


def _required(secret: SecretStr | None, name: str) -> str:
    if secret is None or not secret.get_secret_value():
        raise Invalid(f"{name} is not set.")
    return secret.get_secret_value()


async def _run(replica_set: LocalReplicaSet, *, print_uri: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with replica_set:
        print(replica_set.uri if print_uri else _welcome(replica_set), flush=True)
        supervision = asyncio.create_task(replica_set.supervise(console.print))
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([supervision, waiting], return_when=asyncio.FIRST_COMPLETED)
        supervision.cancel()
        await asyncio.wait([supervision])
        if not supervision.cancelled():
            supervision.result()


def _welcome(replica_set: LocalReplicaSet) -> str:
    members = "\n".join(f"  {member.host}  process {member.process.pid}" for member in replica_set.members)
    return f"""
Members
{members}

For the API (may read and write one database):
  VERBATIM_MONGO_URI='{replica_set.uri}' verbatim serve

For administration:
  {replica_set.admin_uri}

Ctrl-C stops them; {replica_set.folder} keeps their data.
"""
