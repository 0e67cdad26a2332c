"""What kind of database this is, asked of it at the start: product, version, topology, and what it can do.

Where something is missing the way in which Verbatim falls short has a name (`MODES`) and a sentence that says what does
not work. Servers that only speak MongoDB's protocol are told by what they say of themselves.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from app.kit.deadlines import READ_SECONDS

Row = Mapping[str, Any]
Kind = Literal["standalone", "replica_set", "sharded"]

_WIRE_VERSION_OF_MONGODB_6 = 17
_INSTEAD = "Use MongoDB 6.0 or newer as a replica set, or leave VERBATIM_MONGO_URI empty for the embedded one."


@dataclass(frozen=True)
class Product:
    """A server that speaks MongoDB's protocol. `lacks`: fields of `Topology` that are false whatever it claims;
    `refusal`: why nothing can be served from it, empty where that is not known."""

    name: str
    is_it: Callable[[Row, Row], bool]
    lacks: frozenset[str] = frozenset()
    refusal: str = ""


@dataclass(frozen=True)
class Topology:
    product: Product
    version: str
    kind: Kind
    wire_version: int
    members: int = 1
    replica_set: str | None = None
    transactions: bool = False
    change_streams: bool = False
    ttl: bool = True
    text_index: bool = True

    @property
    def modes(self) -> list["Mode"]:
        """In which ways Verbatim falls short on it."""
        return [mode for mode in MODES if mode.is_met(self)]

    @property
    def refusal(self) -> str | None:
        """Why nothing can be served from it, in a sentence or two that say what to do."""
        return next((mode.sentence(self) for mode in self.modes if mode.is_fatal), None)

    def __str__(self) -> str:
        kind = {"replica_set": f"replica set {self.replica_set}", "sharded": "a sharded cluster"}.get(self.kind)
        members = f"{self.members} member{'s' if self.members > 1 else ''}"
        return f"{self.product.name} {self.version}, {kind or 'a standalone server'}, {members}"


@dataclass(frozen=True)
class Mode:
    """A way in which Verbatim falls short. `is_fatal`: it does not start."""

    name: str
    is_met: Callable[[Topology], bool]
    sentence: Callable[[Topology], str]
    is_fatal: bool = False


def _hosts(hello: Row) -> list[str]:
    names = [hello.get("me"), hello.get("primary"), *hello.get("hosts", ()), *hello.get("passives", ())]
    return [str(name).rpartition(":")[0].lower() for name in names if name]


def _is_at(pattern: str) -> Callable[[Row, Row], bool]:
    return lambda hello, _: any(re.search(pattern, host) for host in _hosts(hello))


def _says_ferretdb(_: Row, build: Row) -> bool:
    return "ferretdb" in build or "ferretdbVersion" in build


def _says_documentdb(hello: Row, _: Row) -> bool:
    internal = hello.get("internal")
    return isinstance(internal, Mapping) and ("documentdb_versions" in internal or "cosmos_versions" in internal)


PRODUCTS: tuple[Product, ...] = (
    Product(
        "FerretDB",
        _says_ferretdb,
        frozenset({"transactions", "change_streams", "text_index"}),
        "it has neither transactions, without which half of a turn could be stored, nor change streams, by which "
        "servers, rooms and webhooks hear of what others write.",
    ),
    Product(
        "Amazon DocumentDB",
        _is_at(r"\.docdb(-elastic)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$|\.docdb(-elastic)?\.amazonaws\.com$"),
        frozenset({"change_streams", "text_index"}),
        "its partial indexes know no $in and no $or, so the indexes of lists and of unique values cannot be built; "
        "change streams are off until they are switched on for each collection.",
    ),
    Product(
        "Azure Cosmos DB",
        lambda hello, build: "_t" in build or _is_at(r"\.cosmos\.azure\.com$")(hello, build),
        frozenset({"transactions", "change_streams", "text_index"}),
        "its transactions end at one partition, and its change streams show neither deletions nor which field changed.",
    ),
    Product("DocumentDB (PostgreSQL)", _says_documentdb),
    Product("a server that is not MongoDB", lambda _, build: "gitVersion" not in build),
    Product("MongoDB", lambda *_: True),
)
"""The first that it is; the last is every other. Facts of the vendors' own pages, see docs/decisions/migrations.md."""
_UNPROVEN = frozenset({"DocumentDB (PostgreSQL)", "a server that is not MongoDB"})

MODES: tuple[Mode, ...] = (
    Mode(
        "other_product",
        lambda it: bool(it.product.refusal),
        lambda it: f"This is {it.product.name} {it.version}, not MongoDB: {it.product.refusal} {_INSTEAD}",
        is_fatal=True,
    ),
    Mode(
        "standalone",
        lambda it: it.kind == "standalone",
        lambda _: (
            "This MongoDB is a standalone server, but Verbatim needs a replica set (one member is enough): "
            "start mongod with --replSet rs0 and run once: mongosh --eval 'rs.initiate()'. Without one there are no "
            "transactions, so half of a turn could be stored, and no change streams."
        ),
        is_fatal=True,
    ),
    Mode(
        "too_old",
        lambda it: it.wire_version < _WIRE_VERSION_OF_MONGODB_6,
        lambda it: f"This MongoDB ({it.version}) is too old: Verbatim needs 6.0 or newer, for its partial indexes.",
        is_fatal=True,
    ),
    Mode(
        "no_transactions",
        lambda it: not it.transactions,
        lambda _: f"This database has no transactions, without which half of a turn could be stored. {_INSTEAD}",
        is_fatal=True,
    ),
    Mode(
        "unproven",
        lambda it: it.product.name in _UNPROVEN,
        lambda it: (
            f"This is {it.product.name} {it.version}: Verbatim was never tested on it, and no promise holds there."
        ),
    ),
    Mode(
        "no_change_streams",
        lambda it: not it.change_streams,
        lambda _: (
            "This database opens no change stream for this user: a turn is followed live, and cancelled, only on the "
            "server that runs it; rooms show what was written on their own server alone; who is shut out of a "
            "conversation keeps open streams of other servers until they end; webhooks are told nothing. The role "
            "readWrite is enough."
        ),
    ),
    Mode(
        "no_ttl",
        lambda it: not it.ttl,
        lambda _: (
            "MongoDB's TTL monitor is switched off (ttlMonitorEnabled): ended sessions, logs of turns, answers to "
            "repeat, deliveries and entries of the audit log are kept for ever."
        ),
    ),
    Mode(
        "no_text_index",
        lambda it: not it.text_index,
        lambda _: "This database has no text index that Verbatim can use: VERBATIM_TEXT_SEARCH has to stay false.",
    ),
)


async def probe(client: AsyncMongoClient[dict[str, Any]], database: str) -> Topology:
    """Ask the server what it is and can do; raises PyMongoError when it cannot be reached."""
    with pymongo.timeout(READ_SECONDS):
        hello = await client.admin.command("hello")
        build = await client.admin.command("buildInfo")
        streams, ttl = await _has_change_streams(client, database), await _has_ttl(client)
    return describe(hello, build, change_streams=streams, ttl=ttl)


def describe(hello: Row, build: Row, *, change_streams: bool = True, ttl: bool = True) -> Topology:
    """What these answers say; `change_streams` and `ttl`: what was found by trying."""
    product = next(each for each in PRODUCTS if each.is_it(hello, build))
    kind = _kind(hello)
    has = {
        "transactions": kind != "standalone" and hello.get("logicalSessionTimeoutMinutes") is not None,
        "change_streams": kind != "standalone" and change_streams,
        "ttl": ttl,
        "text_index": True,
    }
    return Topology(
        product=product,
        version=_version(build),
        kind=kind,
        wire_version=int(hello.get("maxWireVersion", 0)),
        members=len(hello.get("hosts", ())) + len(hello.get("passives", ())) or 1,
        replica_set=hello.get("setName"),
        **{name: value and name not in product.lacks for name, value in has.items()},
    )


def _kind(hello: Row) -> Kind:
    if hello.get("msg") == "isdbgrid":
        return "sharded"
    return "replica_set" if "setName" in hello else "standalone"


def _version(build: Row) -> str:
    """Its own version where it has one beside the version of MongoDB that it claims."""
    ferretdb = build.get("ferretdb")
    own = ferretdb.get("version") if isinstance(ferretdb, Mapping) else build.get("ferretdbVersion")
    return str(own or build.get("version", "of an unknown version"))


async def _has_change_streams(client: AsyncMongoClient[dict[str, Any]], database: str) -> bool:
    """Whether one can be opened here: not on a standalone server, nor by a user who may not."""
    try:
        async with await client[database].watch([], max_await_time_ms=1):
            return True
    except OperationFailure as error:
        if error.timeout or error.has_error_label("RetryableWriteError"):
            raise
        return False


async def _has_ttl(client: AsyncMongoClient[dict[str, Any]]) -> bool:
    """Whether the TTL monitor runs; a user who may not ask, which is the usual one, believes that it does."""
    try:
        reply = await client.admin.command({"getParameter": 1, "ttlMonitorEnabled": 1})
    except OperationFailure as error:
        if error.timeout:
            raise
        return True
    return bool(reply.get("ttlMonitorEnabled", True))
