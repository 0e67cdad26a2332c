"""Reading a list's query string: every operator of every kind, and every refusal naming its parameter."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from app.kit.errors import Invalid
from app.kit.listing import MAX_CHOICES, parse_listing
from app.kit.parameters import list_parameters
from app.kit.resource import OPERATORS, Resource
from tests.kit.samples import SAMPLES

ID = ObjectId("66a0c0ffee66a0c0ffee66a0")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
VALID = {"string": "true", "integer": "7", "number": "1.5", "boolean": "true"}


def faults(*parameters: tuple[str, str], paged: bool = True) -> list[str]:
    with pytest.raises(Invalid) as caught:
        parse_listing(SAMPLES, parameters, paged=paged)
    return [each["field"] for each in caught.value.members["fields"]]


@pytest.mark.parametrize(
    ("name", "text", "condition"),
    [
        ("title", "a", {"title": {"$eq": "a"}}),
        ("title", '{"$ne": ""}', {"title": {"$eq": '{"$ne": ""}'}}),
        ("title__ne", "$name", {"title": {"$ne": "$name"}}),
        ("title__in", "a,b", {"title": {"$in": ["a", "b"]}}),
        ("title__exists", "true", {"title": {"$ne": None}}),
        ("title__exists", "false", {"title": None}),
        ("title__has", "a.c", {"title": {"$regex": r"a[\.․﹒．]c", "$options": "i"}}),
        ("tags", "a", {"tags": {"$eq": "a"}}),
        ("tags__has", "a", {"tags": {"$regex": "a", "$options": "i"}}),
        ("rank__gte", "-3", {"rank": {"$gte": -3}}),
        ("rank__lt", str(2**63 - 1), {"rank": {"$lt": 2**63 - 1}}),
        ("weight__gt", "1.5e3", {"weight": {"$gt": 1500.0}}),
        ("active", "false", {"active": {"$eq": False}}),
        ("seen_at__lte", "2026-01-01", {"seen_at": {"$lte": NEW_YEAR}}),
        ("seen_at__lte", "2026-01-01T02:00:00+02:00", {"seen_at": {"$lte": NEW_YEAR}}),
        ("born__gte", "2000-02-29", {"born": {"$gte": "2000-02-29"}}),
        ("id__in", f"{ID}", {"_id": {"$in": [ID]}}),
        ("state__in", "new,old", {"state": {"$in": ["new", "old"]}}),
        ("place.city", "Rome", {"place.city": {"$eq": "Rome"}}),
        ("extra__exists", "true", {"extra": {"$ne": None}}),
    ],
)
def test_a_filter_becomes_a_condition_on_its_column(name: str, text: str, condition: dict[str, Any]) -> None:
    assert parse_listing(SAMPLES, [(name, text)]).all_conditions[0] == condition


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing", "1"),
        ("title[$ne]", "a"),
        ("title__gte", "a"),
        ("title__eq", "a"),
        ("title__", "a"),
        ("__has", "a"),
        ("note", "a"),
        ("version", "1"),
        ("active__in", "true"),
        ("extra", "1"),
        ("rank", "1.5"),
        ("rank", "9" * 19),
        ("rank__in", "1,x"),
        ("weight", "1.2.3"),
        ("weight", "nan"),
        ("weight", "1e999"),
        ("active", "yes"),
        ("seen_at", "yesterday"),
        ("seen_at", "0001-01-01T00:00:00+14:00"),
        ("born", "2026-02-30"),
        ("id", "123"),
        ("state", "unknown"),
        ("title", "a\0"),
        ("title__has", ""),
        ("title__has", "a" * 201),
        ("title__exists", "1"),
        ("title__in", ",".join("a" * (MAX_CHOICES + 1))),
        ("q", ""),
        ("q", "a" * 201),
        ("q", "a\0"),
        ("match", "text"),
        ("case_sensitive", "1"),
        ("sort", "note"),
        ("sort", "--title"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "x"),
        ("fields", ""),
        ("fields", "password_hash"),
        ("count", "yes"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(name: str, text: str) -> None:
    assert faults((name, text)) == [f"query.{name}"]


def test_every_fault_is_told_at_once() -> None:
    assert faults(("rank", "x"), ("nothing", "1"), ("limit", "0")) == ["query.rank", "query.nothing", "query.limit"]


@pytest.mark.parametrize("query", ["", "a\0", "x" * 201, "(*ANY)a", "a\\C"])
@pytest.mark.parametrize("other", [("match", "glob"), ("case_sensitive", "maybe"), ("nothing", "1")])
def test_what_is_searched_for_is_told_beside_other_faults(query: str, other: tuple[str, str]) -> None:
    found = {"q": query, "match": "regex", **dict([other])}
    expected = {"query.q", f"query.{other[0]}"}
    if other[0] == "match" and query not in ("", "a\0", "x" * 201):
        expected = {"query.match"}  # as what else it should be a pattern nobody knows
    assert set(faults(*found.items())) == expected


def test_a_doubled_parameter_is_refused() -> None:
    assert faults(("title", "a"), ("title", "b")) == ["query.title"]


@pytest.mark.parametrize("name", ["limit", "after", "before", "fields", "count"])
def test_an_export_has_no_pages(name: str) -> None:
    assert f"query.{name}" in faults((name, "1"), paged=False)


def test_a_page_lies_on_one_side_of_a_cursor() -> None:
    assert faults(("after", "x"), ("before", "x")) == ["query.before"]


def test_limits_include_their_ends() -> None:
    assert [parse_listing(SAMPLES, [("limit", text)]).limit for text in ("1", "1000")] == [1, 1000]


def test_rows_that_are_gone_are_left_out_unless_they_are_asked_for() -> None:
    assert parse_listing(SAMPLES, []).conditions == ({"state": {"$ne": "gone"}},)
    assert parse_listing(SAMPLES, [("state", "gone")]).conditions == ({"state": {"$eq": "gone"}},)


def test_a_chosen_part_of_a_chosen_member_is_not_asked_for_twice() -> None:
    assert parse_listing(SAMPLES, [("fields", "place.city, place,place.street,title")]).fields == ("place", "title")


@pytest.mark.parametrize("parameters", [[("q", "a")], [("title__has", "a")]])
def test_searches_are_known_as_such(parameters: list[tuple[str, str]]) -> None:
    assert parse_listing(SAMPLES, parameters).is_search
    assert not parse_listing(SAMPLES, [("title", "a")]).is_search


def example(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    if "enum" in schema:
        return str(schema["enum"][-1])
    special = {"date-time": "2026-01-31T12:00:00Z", "date": "2026-01-31"}.get(schema.get("format", ""))
    return special or (str(ID) if "pattern" in schema else _of_list(parameter["name"]) or VALID[schema["type"]])


def _of_list(name: str) -> str:
    """A value of one item for parameters that are lists in a string."""
    examples = {"fields": "title", "id__in": str(ID), "rank__in": "7", "weight__in": "7", "state__in": "new"}
    return {**examples, "seen_at__in": "2026-01-31", "born__in": "2026-01-31"}.get(name, "")


@pytest.mark.parametrize("paged", [True, False])
def test_every_documented_parameter_is_accepted(paged: bool) -> None:
    documented = list_parameters(SAMPLES, paged=paged)["parameters"]

    for parameter in documented:
        parse_listing(SAMPLES, [(parameter["name"], example(parameter))], paged=paged)
    names = [parameter["name"] for parameter in documented]
    assert len(names) == len(set(names))
    operators = sum(len(OPERATORS[column.kind]) for column in SAMPLES.columns if column.filterable)
    assert len(names) == operators + (9 if paged else 4)


def test_a_resource_without_search_neither_documents_nor_takes_it() -> None:
    plain = Resource(name="plain", columns=(SAMPLES.by_name["rank"],), default_sort="rank")

    assert "q" not in {each["name"] for each in list_parameters(plain)["parameters"]}
    with pytest.raises(Invalid, match=r"query\.q"):
        parse_listing(plain, [("q", "a")])
