"""The inventory knows every collection and every field that names a user; what it hands out holds no secret."""

from typing import Any

import pytest

from app.database import DOCUMENTS, Database
from app.privacy.inventory import EXPORTED, INVENTORY, Holding

USER_FIELDS = {"owner_id", "user_id", "actor_id", "subject_id", "requested_by", "placed_by"}


@pytest.fixture(autouse=True)
def _bound(database: Database) -> None:
    """The collections have names."""


def of(document: type[Any]) -> Holding:
    [holding] = [each for each in INVENTORY if each.document is document]
    return holding


def test_every_collection_is_in_the_inventory_once() -> None:
    assert sorted(each.__name__ for each in DOCUMENTS) == sorted(each.document.__name__ for each in INVENTORY)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_collection_that_names_users_is_handed_out_or_left_out_with_a_reason(document: type[Any]) -> None:
    names = set(document.model_fields) & USER_FIELDS
    if names or document.__name__ == "User":
        assert of(document).of is not None, names
    assert of(document).is_exported or len(of(document).left_out) > 10


@pytest.mark.parametrize("holding", EXPORTED, ids=lambda each: each.document.__name__)
def test_what_is_withheld_is_a_field_with_a_reason_and_no_secret_is_handed_out(holding: Holding) -> None:
    assert set(holding.withheld) <= set(holding.document.model_fields)
    assert all(holding.withheld.values())
    for name in holding.projection:
        assert not any(word in name for word in ("hash", "secret", "password", "windows")), name
    assert holding.projection.keys() | holding.withheld.keys() == {
        "_id" if name == "id" else name for name in holding.document.model_fields if name != "revision_id"
    }
