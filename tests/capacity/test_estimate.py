"""The calculator: sums are sums, more of anything never needs less, and its page shows its figures."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.capacity.estimate import GIB, Demand, Member, estimate
from app.capacity.figures import FIGURES, named
from app.cli import _app
from app.cli.capacity import _size

PAGE = Path(__file__).parents[2] / "docs" / "scale-out.md"
USUAL = Demand(users=10_000)


def test_what_is_stored_follows_from_messages_and_retention() -> None:
    reckoned = estimate(USUAL, Member())
    stored = {each.name: each for each in reckoned.stored}

    assert stored["messages"].documents == 10_000 * 20 * 365
    assert stored["turns"].documents == stored["messages"].documents / 2
    assert stored["conversations"].documents == stored["messages"].documents / 20
    assert stored["users"].documents == 10_000
    text = USUAL.characters * USUAL.bytes_a_character
    assert stored["messages"].bson == stored["messages"].documents * (FIGURES.message_bytes.value + text)
    assert reckoned.total_bytes == pytest.approx(sum(each.disk + each.indexes for each in reckoned.stored))
    assert reckoned.replicated_bytes == 3 * reckoned.total_bytes


def test_logs_of_turns_are_of_one_day_however_long_the_retention() -> None:
    short, long = (estimate(replace(USUAL, retention_days=days), Member()) for days in (30, 3000))

    assert {each.documents for each in short.stored if each.name == "turn_events"} == {
        each.documents for each in long.stored if each.name == "turn_events"
    }


@pytest.mark.parametrize(
    "more",
    [
        {"users": 100_000},
        {"messages_a_day": 200},
        {"characters": 4000},
        {"bytes_a_character": 3},
        {"retention_days": 3650},
        {"peak": 50},
        {"streams": 100_000},
        {"reads_a_turn": 40},
    ],
    ids=lambda more: next(iter(more)),
)
def test_more_of_anything_never_needs_less(more: dict[str, Any]) -> None:
    less, much = estimate(USUAL, Member()), estimate(replace(USUAL, **more), Member())

    for name in ("total_bytes", "oplog_bytes_a_day", "api_cores", "api_servers", "mongod_cores", "shards", "members"):
        assert getattr(much, name) >= getattr(less, name), name
    assert much.oplog_hours_at_peak <= less.oplog_hours_at_peak or much.shards > less.shards


def test_few_people_need_a_replica_set_and_two_servers() -> None:
    reckoned = estimate(Demand(users=1), Member())

    assert (reckoned.shards, reckoned.members, reckoned.api_servers) == (1, 3, 2)


def test_shards_are_as_many_as_the_scarcest_resource_asks_for() -> None:
    for member, scarce in (
        (Member(memory=10_000, disk=100, cores=1000), "disk"),
        (Member(memory=2, disk=100_000, cores=1000), "memory"),
        (Member(memory=10_000, disk=100_000, cores=1), "processors"),
    ):
        reckoned = estimate(Demand(users=100_000), member)
        most = max(reckoned.needs, key=lambda need: need.shards)
        assert most.resource == scarce
        assert reckoned.shards - 1 < most.shards <= reckoned.shards
        assert reckoned.members == 3 * reckoned.shards


def test_the_oplog_has_mongodbs_default_size() -> None:
    few = Demand(users=100)
    day = estimate(few, Member()).oplog_bytes_a_day

    for disk, oplog in ((10, 1), (100, 5), (10_000, 50)):
        assert estimate(few, Member(disk=disk)).oplog_hours == pytest.approx(oplog * GIB / day * 24)


def test_streams_that_are_told_count_instead_of_the_peak() -> None:
    told = estimate(replace(USUAL, streams=1000), Member())

    assert told.streams == 1000
    assert told == replace(estimate(replace(USUAL, streams=1000, peak=1), Member()), **_of_the_peak(told))


def _of_the_peak(told: Any) -> dict[str, Any]:
    return {name: getattr(told, name) for name in ("turns_a_second", "oplog_hours_at_peak")}


def test_the_command_prints_tables_or_json() -> None:
    shown = CliRunner().invoke(_app, ["capacity", "--users", "1000"])
    assert shown.exit_code == 0
    for word in ("messages", "search index", "API servers", "a replica set", "oplog"):
        assert word in shown.output

    done = CliRunner().invoke(_app, ["capacity", "--users", "1000", "--retention-days", "30", "--json"])
    told = json.loads(done.output)
    assert told["demand"]["retention_days"] == 30
    assert told["members"] == 3
    assert {each["name"] for each in told["stored"]} >= {"messages", "turns", "turn_events"}


@pytest.mark.parametrize("option", ["--users", "--retention-days", "--characters", "--replication"])
def test_what_makes_no_sense_is_refused(option: str) -> None:
    refused = CliRunner().invoke(_app, ["capacity", "--users", "10", option, "0"])

    assert refused.exit_code == 2
    assert option in refused.output


def test_the_page_shows_every_figure_as_it_is() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+)", PAGE.read_text(), re.MULTILINE))

    assert {name: float(value.replace(",", "")) for name, value in shown.items()} == {
        name: figure.value for name, figure in named().items()
    }


def test_the_page_shows_what_a_million_messages_come_to() -> None:
    page = PAGE.read_text()
    for each in estimate(Demand(users=1000, messages_a_day=10, retention_days=100), Member()).stored:
        row = re.search(rf"^\| {each.name} \| ([\d,]+) \|(?: [\d,.]+ [GM]iB \|){{3}}$", page, re.MULTILINE)
        assert (each.name == "users") == (row is None)
        if row is not None:
            assert row.group(1) == f"{each.documents:,.0f}"
            assert " | ".join(_size(size) for size in (each.bson, each.disk, each.indexes)) in row.group()
