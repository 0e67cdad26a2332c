"""The text index over message contents, which is there only where the operator wants it: each insert pays for it."""

import re
from collections.abc import Mapping
from typing import Any

from pymongo import ASCENDING, TEXT, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from app.conversations.model import Message
from app.kit.logs import logger

_NOT_FOUND = 27
_OURS = re.compile(r"text_[a-z]+_v1")


async def is_settled(language: str | None) -> bool:
    """Whether `settle` has nothing to do."""
    wanted = _name(language)
    present = _texts(await Message.get_pymongo_collection().index_information())
    if wanted is None:
        return not any(_OURS.fullmatch(name) for name in present)
    return present == {wanted}


def _name(language: str | None) -> str | None:
    return None if language is None else f"text_{language}_v1"


def _texts(indexes: Mapping[str, Any]) -> set[str]:
    return {name for name, index in indexes.items() if "textIndexVersion" in index}


async def settle(language: str | None) -> None:
    """Build the index of the language, and drop one of another: a collection has one at most. None drops those that
    were built here; one that the operator has made by hand stays.

    Building reads all messages; writes go on meanwhile.
    """
    collection = Message.get_pymongo_collection()
    wanted = _name(language)
    present = _texts(await collection.index_information())
    for name in present - {wanted}:
        if wanted is None and not _OURS.fullmatch(name):
            continue
        logger.info("text_index_dropped", name=name)
        await _drop(collection, name)
    if wanted is not None and wanted not in present:
        logger.info("text_index_building", name=wanted)
        # The owner behind the text lets the index alone leave out what others wrote. In front of it every search
        # would have to name one owner. No stored field may name another language.
        keys: list[tuple[str, int | str]] = [("content", TEXT), ("owner_id", ASCENDING)]
        options: dict[str, Any] = {"default_language": language, "language_override": "_text_language"}
        await collection.create_indexes([IndexModel(keys, name=wanted, **options)])


async def _drop(collection: AsyncCollection[Any], name: str) -> None:
    try:
        await collection.drop_index(name)
    except OperationFailure as error:
        if error.code != _NOT_FOUND:  # another process was faster
            raise
