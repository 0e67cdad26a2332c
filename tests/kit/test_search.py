"""Searches on the real server: literals are literal, patterns end within their budget and never break anything."""

import string
import time

import pytest

from app.kit.database_errors import translate
from app.kit.deadlines import SEARCH_SECONDS
from app.kit.errors import InvalidPattern, QueryTooExpensive, VerbatimError
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING
from tests.kit.samples import SAMPLES, SampleRepository, sample

pytestmark = pytest.mark.mongod
METACHARACTERS = sorted({*string.punctuation, " ", "\n", "\t", "é", "恋", "😀"})


async def found(samples: SampleRepository, **parameters: str) -> list[int]:
    page = await samples.page(EVERYTHING, parse_listing(SAMPLES, {**parameters, "sort": "number"}.items()))
    return [row["number"] for row in page.rows]


async def refusal(samples: SampleRepository, **parameters: str) -> VerbatimError | None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 the edge's table says which
        await found(samples, **parameters)
    error = caught.value
    return error if isinstance(error, VerbatimError) else translate(error, is_write=False)


@pytest.mark.parametrize("character", METACHARACTERS)
async def test_every_character_is_found_as_itself_and_as_nothing_else(
    samples: SampleRepository, character: str
) -> None:
    await samples.collection.insert_many(
        [sample(1, title=f"a{character}b"), sample(2, title="ab"), sample(3, title="aab")]
    )

    assert await found(samples, q=f"a{character}b") == [1]
    assert await found(samples, title__has=f"a{character}b") == [1]
    assert await found(samples, q=f"a{character}", match="prefix") == [1]


async def test_case_counts_only_when_asked_also_beyond_ascii(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(1, title="Éclair 恋恋笔记本"), sample(2, note="éclair")])

    assert await found(samples, q="ÉCLAIR") == [1, 2]
    assert await found(samples, q="éclair", case_sensitive="true") == [2]
    assert await found(samples, q="恋笔") == [1]


async def test_a_prefix_is_found_at_the_beginning_only(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(1, title="mocha latte"), sample(2, title="a mocha\nmocha")])

    assert await found(samples, q="mocha", match="prefix") == [1]


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [("^mo.ha$", [1]), ("$title", []), ("$", [1, 2]), ("[0-9]{3}", [2]), ("(?i)MOCHA", [1]), ("$$ROOT", [])],
)
async def test_a_pattern_is_a_pattern_and_never_a_field(
    samples: SampleRepository, pattern: str, numbers: list[int]
) -> None:
    await samples.collection.insert_many([sample(1, title="mocha"), sample(2, title="x123")])

    assert await found(samples, q=pattern, match="regex") == numbers


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing )"),
        ("[a", "missing terminating ]"),
        ("a{2,1}", "numbers out of order"),
        ("\\", "at end of pattern"),
        ("(?R)", "recursive call"),
        ("((a{100}){100}){100}", "too large"),
        ("(*ANYCRLF)a", "holds"),
        ("a\\Cb", "holds"),
    ],
)
async def test_an_invalid_pattern_is_told_with_the_reason(samples: SampleRepository, pattern: str, reason: str) -> None:
    await samples.collection.insert_one(sample(1))

    error = await refusal(samples, q=pattern, match="regex")

    assert isinstance(error, InvalidPattern)
    assert error.code == "invalid_pattern"
    assert error.members["fields"][0]["field"] == "query.q"
    assert reason in error.members["fields"][0]["message"]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", "(.*a){20}", "^(?:a?){200}a{200}$"])
async def test_a_catastrophic_pattern_ends_at_once(samples: SampleRepository, pattern: str) -> None:
    await samples.collection.insert_one(sample(1, title="a" * 3000 + "!"))
    started = time.monotonic()

    error = await refusal(samples, q=pattern, match="regex")

    assert isinstance(error, QueryTooExpensive)
    assert time.monotonic() - started < SEARCH_SECONDS


@pytest.mark.slow
async def test_a_search_over_its_budget_says_how_far_it_came_and_is_no_outage(samples: SampleRepository) -> None:
    await samples.collection.insert_many([sample(number, title="a" * 500) for number in range(200)])
    asked = {"q": ".{1,30}.*[yz]", "match": "regex", "sort": "number"}

    page = await samples.page(EVERYTHING, parse_listing(SAMPLES, asked.items()))
    error = await refusal(samples, **asked, count="exact")

    assert (page.rows, page.partial) == ([], True)
    assert page.next is not None
    assert isinstance(error, QueryTooExpensive)
    assert "leave `count` out" in error.detail
