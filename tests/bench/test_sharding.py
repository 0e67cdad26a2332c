"""The simulation of shard keys: nothing is lost in it, and it shows what is known of each candidate."""

from collections import Counter

import pytest

from bench.sharding import CANDIDATES, Cluster, Outcome, Written, simulate, traffic

SHARDS, LARGEST = 4, 100


@pytest.fixture(scope="module")
def days() -> list[list[Written]]:
    return traffic([2, 4, 9, 12, 40], owners=200, messages=12_000, exponent=1.5)


@pytest.fixture(scope="module")
def outcomes(days: list[list[Written]]) -> dict[str, Outcome]:
    return {
        name: simulate(days, key, shards=SHARDS, largest=LARGEST, presplit="hashed" in name)
        for name, key in CANDIDATES.items()
    }


def test_equal_seeds_give_equal_traffic_of_the_wanted_skew(days: list[list[Written]]) -> None:
    assert traffic([2, 4, 9, 12, 40], owners=200, messages=12_000, exponent=1.5) == days
    owners = Counter(row.owner for day in days for row in day)
    assert 0.3 < owners[0] / owners.total() < 0.5
    assert [row.at for day in days for row in day] == list(range(owners.total()))


def test_hashed_conversations_spread_rows_and_writes_and_keep_transcripts_together(
    outcomes: dict[str, Outcome],
) -> None:
    outcome = outcomes["conversation, hashed"]

    assert outcome.fullest < 1.2
    assert outcome.hottest < 0.4
    assert outcome.uncut <= 1
    assert outcome.transcript == 1
    assert outcome.own > SHARDS / 2


def test_owners_keep_lists_together_and_cannot_be_cut(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["owner, hashed"]

    assert outcome.own == outcome.transcript == 1
    assert outcome.uncut > 10
    assert outcome.hottest > outcomes["conversation, hashed"].hottest


def test_what_grows_with_time_is_written_on_one_shard(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["time"].hottest > 0.95
    assert outcomes["conversation, in order of its id"].hottest > 0.55


def test_a_row_lies_where_its_range_is_whatever_was_cut_and_moved() -> None:
    cluster = Cluster(SHARDS, LARGEST, presplit=False)
    for key in range(3000):
        cluster.write(key * 7919 % 3000)
    cluster.settle()

    assert sum(cluster.sizes()) == 3000
    begins = [each.begin for each in cluster.ranges]
    assert begins == sorted(begins)
    ends = [*begins[1:], 3000]
    for each, end in zip(cluster.ranges, ends, strict=True):
        assert all(each.begin <= key < end for key in each.rows)
        assert each.size <= LARGEST
    assert max(cluster.sizes()) - min(cluster.sizes()) <= 3 * LARGEST
