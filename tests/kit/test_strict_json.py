"""What strict JSON lets through can be stored; what it refuses, it refuses with a sentence and in linear time."""

import orjson
import pytest
from bson import BSON
from hypothesis import given
from hypothesis import strategies as st

from app.kit.strict_json import MAX_DEPTH, MAX_MEMBERS, InvalidJSON, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".\0"), min_size=1).filter(
    lambda key: not key.startswith("$")
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
STORABLE = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(KEY, inner), max_leaves=30)


@given(STORABLE)
def test_everything_storable_passes_unchanged_and_is_stored_unchanged(value: object) -> None:
    assert loads(orjson.dumps(value)) == value
    assert BSON.encode({"value": loads(orjson.dumps(value))}).decode() == {"value": value}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (rb'"\ud800"', "surrogate"),
        (rb'{"\udfff": 1}', "surrogate"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"1e400", "too large"),
        (b"-1e400", "too large"),
        (b"1" * 30, "64 bits"),
        (b"9223372036854775808", "64 bits"),
        (b'{"a": 1, "a": 1}', "same key twice"),
        (b'{"$set": 1}', "not allowed"),
        (b'{"a": {"b.c": 1}}', "not allowed"),
        (b'{"": 1}', "not allowed"),
        (rb'{"a\u0000": 1}', "not allowed"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 1_000_000, "deeper than 64"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "line 1"),
        (b'{"a": 1', "line 1"),
        (b'"a\nb"', "line 1"),
        (b"", "line 1"),
    ],
)
def test_a_body_that_could_not_be_stored_or_read_again_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidJSON, match=sentence):
        loads(body)


def test_an_object_with_more_members_than_any_of_ours_is_refused() -> None:
    with pytest.raises(InvalidJSON, match="1000 members"):
        loads(orjson.dumps({str(number): number for number in range(MAX_MEMBERS + 1)}))


def test_a_refused_key_is_shown_shortened() -> None:
    with pytest.raises(InvalidJSON) as caught:
        loads(orjson.dumps({"$" * 100_000: 1}))

    assert len(caught.value.msg) < 300


def test_the_deepest_allowed_nesting_passes() -> None:
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


def test_brackets_inside_strings_are_not_depth() -> None:
    text = '\\"[{"' + "[{" * 1000

    assert loads(orjson.dumps([text])) == [text]


@pytest.mark.parametrize(
    "unit",
    [b'\\"', b"[],", b'"a",', b"\\\\", b"1,", b'{"a":1},'],
    ids=["quotes", "lists", "strings", "slashes", "", "{}"],
)
def test_a_long_hostile_body_is_refused(unit: bytes) -> None:
    """Work that is quadratic in the length of the body (2 s for 40 kB, seen) would run into the suite's time limit."""
    body = b"[" + b"[]," * 70 + b'"' * unit.startswith(b"\\") + unit * (2**20 // len(unit))

    with pytest.raises(InvalidJSON):
        loads(body)
