"""JSON Lines in UTF-8: one object a line, members in the order of the headings, nested where a name is dotted."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from app.kit.export.model import ExportOptions, Heading, Row, require_unique
from app.kit.export.value import json_bytes
from app.kit.export.worker import encoded

PIECE_BYTES = 1 << 20


def stream(
    headings: Sequence[Heading],
    batches: AsyncIterator[Iterable[Row]],
    about: Mapping[str, str],  # noqa: ARG001 - every line is a row
    options: ExportOptions,  # noqa: ARG001 - the text is always as it is
) -> AsyncGenerator[bytes, None]:
    """The file in pieces of about 1 MiB."""
    names = [each.name for each in headings]
    _require_tree(names)
    return encoded(batches, partial(_pieces, [tuple(name.split(".")) for name in names]), b"")


def _require_tree(names: Sequence[str]) -> None:
    """Raise ValueError when a name is given twice or is also the parent of another: `profile` and `profile.phone`."""
    require_unique("the names", names)
    parents = {name[:end] for name in names for end, character in enumerate(name) if character == "."}
    if both := parents.intersection(names):
        raise ValueError(f"{sorted(both)} cannot be a value and an object at once")


def _pieces(paths: Sequence[tuple[str, ...]], rows: Iterable[Row]) -> Iterator[bytes]:
    """The rows encoded, in pieces that end with the row that fills them."""
    piece = bytearray()
    for row in rows:
        piece += json_bytes(nested(paths, row), orjson.OPT_APPEND_NEWLINE)
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def nested(paths: Sequence[tuple[str, ...]], row: Row) -> dict[str, Any]:
    """The values of a row as an object, each at its path."""
    result: dict[str, Any] = {}
    for path, value in zip(paths, row, strict=True):
        parent = result
        for segment in path[:-1]:
            parent = parent.setdefault(segment, {})
        parent[path[-1]] = value
    return result
