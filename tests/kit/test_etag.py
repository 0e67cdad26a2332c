"""Which versions the conditional headers name."""

import pytest

from app.kit.etag import etag, is_unchanged, parse_if_match


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        ("*", None),
        (' "3" ', {3}),
        ('"1", "2"', {1, 2}),
        ('W/"3"', set()),
        ('"03"', set()),
        ('"0"', set()),
        ('"other"', set()),
        ("3", set()),
        ("", set()),
        ('"' + "9" * 30 + '"', set()),
    ],
)
def test_if_match_names_only_strong_tags_of_ours(header: str | None, versions: set[int] | None) -> None:
    assert parse_if_match(header) == versions


@pytest.mark.parametrize(
    ("header", "unchanged"),
    [(None, False), ("*", True), ('"3"', True), ('W/"3"', True), ('"2", "3"', True), ('"2"', False), ("", False)],
)
def test_if_none_match_also_takes_weak_tags(header: str | None, unchanged: bool) -> None:
    assert is_unchanged(header, 3) is unchanged


def test_a_tag_of_ours_names_its_version() -> None:
    assert parse_if_match(etag(7)) == frozenset({7})
