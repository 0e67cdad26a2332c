"""The shard keys beside the models: which unique indexes can be kept, and that the page says so."""

from pathlib import Path
from typing import Any

import pytest
from beanie import Document

from app.capacity.shard_keys import SHARD_KEYS, ShardKey
from app.database import DOCUMENTS

PAGE = Path(__file__).parents[2] / "docs" / "scale-out.md"


def _indexes(document: type[Document]) -> list[dict[str, Any]]:
    return [index.document for index in getattr(document.Settings, "indexes", ())]


def _document(shard_key: ShardKey) -> type[Document]:
    settings: Any
    for document in DOCUMENTS:
        settings = document.Settings
        if settings.name == shard_key.collection:
            return document
    raise AssertionError(f"there is no collection {shard_key.collection}")


@pytest.mark.parametrize("shard_key", SHARD_KEYS, ids=lambda each: each.collection)
def test_unique_indexes_begin_with_the_shard_key_or_are_named(shard_key: ShardKey) -> None:
    unique = [index for index in _indexes(_document(shard_key)) if index.get("unique")]
    unfit = tuple(index["name"] for index in unique if tuple(index["key"])[: len(shard_key.fields)] != shard_key.fields)

    assert unfit == shard_key.unfit


@pytest.mark.parametrize("shard_key", SHARD_KEYS, ids=lambda each: each.collection)
def test_the_page_has_the_key(shard_key: ShardKey) -> None:
    shown = ", ".join(
        f'{field}: "{order}"' if order == "hashed" else f"{field}: {order}" for field, order in shard_key.key
    )
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| `{shard_key.collection}` | ")]

    assert any(f"`{{{shown}}}`" in row for row in rows), shown
    assert all(any(f"`{name}`" in row for row in rows) for name in shard_key.unfit)


def test_every_collection_is_spoken_of() -> None:
    page = PAGE.read_text()
    settings: Any
    for document in DOCUMENTS:
        settings = document.Settings
        assert f"`{settings.name}`" in page, settings.name
