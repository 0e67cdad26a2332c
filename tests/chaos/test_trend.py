"""What counts as growth."""

import random

import pytest

from chaos.samples import LIMITS
from chaos.soak import held
from chaos.trend import trend

TIMES = [5.0 * number for number in range(180)]
"""A quarter of an hour."""


@pytest.mark.parametrize(
    ("rises_by", "noise", "is_flat"),
    [
        (0.0, 0.0, True),
        (0.0, 30.0, True),
        (3.0, 1.0, True),  # within the share
        (30.0, 0.0, False),
        (30.0, 10.0, False),
        (-30.0, 1.0, True),
        (30.0, 400.0, True),  # nothing to be seen in it
    ],
)
def test_growth_is_told_from_noise(rises_by: float, noise: float, is_flat: bool) -> None:
    rng = random.Random(7)
    values = [200 + rises_by * at / TIMES[-1] + rng.uniform(-noise, noise) for at in TIMES]

    assert trend(TIMES, values).is_flat(share=0.05, amount=4) is is_flat


def test_a_line_is_measured_exactly() -> None:
    line = trend([0.0, 1.0, 2.0, 4.0], [10.0, 12.0, 14.0, 18.0])

    assert [line.mean, line.growth, line.error] == pytest.approx([13.5, 8.0, 0.0])


def test_two_values_are_no_trend() -> None:
    with pytest.raises(ValueError, match="three"):
        trend([0.0, 1.0], [1.0, 2.0])


def test_a_leak_of_one_process_is_found_and_a_cache_that_fills_is_none() -> None:
    def figures(number: int) -> dict[str, dict[str, float]]:
        own = dict.fromkeys(LIMITS, 50.0)
        database = {name: own[name] for name in ("memory", "files", "threads")}
        return {
            "server a": own,
            "server b": own | {"files": 50.0 + number / 10},
            "member 0": database | {"memory": 100.0 + number},
        }

    every = held([(at, figures(number)) for number, at in enumerate(TIMES)])

    assert {(each.process, each.figure) for each in every if not each.is_flat} == {("server b", "files")}
    assert len(every) == 2 * len(LIMITS) + 3
