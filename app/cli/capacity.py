"""`verbatim capacity`: what a deployment of so many people needs; no database is asked."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from app.capacity.estimate import GIB, HOT_DAYS, Demand, Estimate, Member, estimate
from app.cli.running import print_table

_DEMAND, _MEMBER = "What people do", "A member of MongoDB"


def capacity(
    users: Annotated[int, typer.Option(min=1, max=10**10, help="People who use it.", rich_help_panel=_DEMAND)],
    messages_a_day: Annotated[
        float,
        typer.Option(min=0.01, max=100_000, help="Of one user, questions and answers.", rich_help_panel=_DEMAND),
    ] = 20,
    characters: Annotated[
        float, typer.Option(min=1, max=1_000_000, help="Of a message, on average.", rich_help_panel=_DEMAND)
    ] = 400,
    bytes_a_character: Annotated[
        float,
        typer.Option(min=1, max=4, help="As UTF-8: 1 for English, 2.9 for Chinese.", rich_help_panel=_DEMAND),
    ] = 1.5,
    conversation_messages: Annotated[
        float, typer.Option(min=1, help="Of a conversation, on average.", rich_help_panel=_DEMAND)
    ] = 20,
    retention_days: Annotated[
        float, typer.Option(min=1, max=36_500, help="For which conversations are kept.", rich_help_panel=_DEMAND)
    ] = 365,
    streams: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Answers under way at the busiest moment.  [default: reckoned from --peak]",
            show_default=False,
            rich_help_panel=_DEMAND,
        ),
    ] = None,
    peak: Annotated[
        float, typer.Option(min=1, max=100, help="The busiest moment beside the mean.", rich_help_panel=_DEMAND)
    ] = 5,
    reads: Annotated[
        float, typer.Option("--reads", min=0, help="Lists and transcripts for each turn.", rich_help_panel=_DEMAND)
    ] = 4,
    replication: Annotated[
        int, typer.Option(min=1, max=50, help="Copies of everything: members of a set.", rich_help_panel=_MEMBER)
    ] = 3,
    member_memory: Annotated[float, typer.Option(min=1, help="GiB.", rich_help_panel=_MEMBER)] = 32,
    member_disk: Annotated[float, typer.Option(min=1, help="GiB.", rich_help_panel=_MEMBER)] = 1000,
    member_cores: Annotated[int, typer.Option(min=1, help="Processors.", rich_help_panel=_MEMBER)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, sizes in bytes.")] = False,
) -> None:
    """Reckon documents, bytes, the oplog's hours, processors, servers, members and shards for so many people.

    The figures behind it were measured; docs/scale-out.md has them, and says what they leave out.

    verbatim capacity --users 50000 --messages-a-day 30 --retention-days 730
    """
    demand = Demand(
        users=users,
        messages_a_day=messages_a_day,
        characters=characters,
        bytes_a_character=bytes_a_character,
        conversation_messages=conversation_messages,
        retention_days=retention_days,
        streams=streams,
        peak=peak,
        reads_a_turn=reads,
        replication=replication,
    )
    reckoned = estimate(demand, Member(member_memory, member_disk, member_cores))
    if as_json:
        print(json.dumps({"demand": asdict(demand), **asdict(reckoned)}, indent=2))
        return
    print_table(_stored(reckoned))
    print_table(_needed(reckoned, demand))


def _stored(reckoned: Estimate) -> Table:
    made = Table("Stored, one copy", title_justify="left")
    for heading in ("documents", "BSON", "on disk", "indexes"):
        made.add_column(heading, justify="right")
    for each in reckoned.stored:
        made.add_row(each.name, f"{each.documents:,.0f}", _size(each.bson), _size(each.disk), _size(each.indexes))
    return made


def _needed(reckoned: Estimate, demand: Demand) -> Table:
    scarcest = max(reckoned.needs, key=lambda need: need.shards)
    shape = "a replica set" if reckoned.shards == 1 else f"{reckoned.shards} shards"
    at_peak = f"{reckoned.oplog_hours_at_peak:,.0f} at the busiest; a member may be away that long"
    made = Table("Needed", "", "because")
    for row in (
        ("disk, one copy", _size(reckoned.total_bytes), "rows and indexes"),
        ("disk, all copies", _size(reckoned.replicated_bytes), f"{demand.replication} copies"),
        ("busiest moment", f"{reckoned.turns_a_second:,.1f} turns/s", f"{reckoned.streams:,.0f} streams at once"),
        ("oplog", f"{reckoned.oplog_hours:,.0f} hours", at_peak),
        ("API servers", str(reckoned.api_servers), f"{reckoned.api_cores:.2f} busy cores; one each, at least two"),
        ("MongoDB", f"{reckoned.mongod_cores:.2f} busy cores", "of primaries"),
        ("cache", _size(reckoned.hot_bytes), f"rows and indexes of the last {HOT_DAYS} days"),
        ("members", str(reckoned.members), f"{shape}; first short of {scarcest.resource} ({scarcest.wanted})"),
    ):
        made.add_row(*row)
    return made


def _size(bytes_: float) -> str:
    return f"{bytes_ / GIB:,.1f} GiB" if bytes_ >= GIB else f"{bytes_ / 1024**2:,.1f} MiB"
