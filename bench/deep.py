"""Deep pages beside first ones. The cursor is written as the server does, so that nobody has to walk there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bson import ObjectId
from rich.table import Table

from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.database import Database
from app.kit.listing import parse_listing
from app.kit.paging import Position
from app.kit.resource import Resource
from bench.asking import Client, Reply
from bench.questions import PAGE
from bench.streams import percentile
from bench.tables import ratio, table

_DEEP = 10_000
_REPEATS = 100
_LISTS: Sequence[tuple[Resource, str]] = (
    (MESSAGES, "-created_at"),
    (MESSAGES, "created_at"),
    (CONVERSATIONS, "-created_at"),
)


@dataclass(frozen=True)
class _Deep:
    """A page of a list that lies deep in it: how many there are before it, where it is, and its rows."""

    number: int
    path: str
    ids: Sequence[ObjectId]


async def deep_pages(database: Database, port: int, key: str, *, repeats: int = _REPEATS) -> Table:
    """Page 10,000 or the last full one, and page 1, in turns, for an admin; lists of one page are left out.

    Raises RuntimeError for wrong rows.
    """
    made = table(
        f"pages of {PAGE}, {repeats} times each",
        *("list", "page", "page 1, ms p50", "p95", "that page, ms p50", "p95", "p50 of page 1's", "p95"),
    )
    async with Client(port, key) as client:
        for resource, sort in _LISTS:
            path = f"/api/{resource.name}?sort={sort}&limit={PAGE}"
            deep = await _deep(database, resource, sort, path)
            if deep is None:
                continue
            reply = await client.get(deep.path)
            if not reply.is_ok or reply.ids != deep.ids:
                raise RuntimeError(f"page {deep.number} of {path} answered {reply.outcome}, not what lies there")
            pairs = [(await client.get(path), await client.get(deep.path)) for _ in range(repeats)]
            first, there = ([_time(reply) for reply in replies] for replies in zip(*pairs, strict=True))
            figures = [[percentile(times, share) for share in (0.5, 0.95)] for times in (first, there)]
            made.add_row(
                *(f"{resource.name}, {sort}", f"{deep.number:,}"),
                *(f"{figure:.2f}" for pair in figures for figure in pair),
                *(ratio(later, early) for early, later in zip(*figures, strict=True)),
            )
    return made


async def _deep(database: Database, resource: Resource, sort: str, path: str) -> _Deep | None:
    listing = parse_listing(resource, [("sort", sort)])
    collection = database.client[database.name][resource.name]
    count = await collection.count_documents(resource.live_filter)
    number = min(_DEEP, count // PAGE)
    if number < 2:
        return None
    rows = await _skipping(collection, resource.live_filter, listing.sort.keys, (number - 1) * PAGE - 1)
    fingerprint = listing.fingerprint + repr({}).encode()
    cursor = database.cursors.encode(fingerprint, Position.of(rows[0], listing.sort))
    return _Deep(number, f"{path}&after={quote(cursor)}", [row["_id"] for row in rows[1:]])


async def _skipping(
    collection: Any, condition: Mapping[str, Any], keys: list[tuple[str, int]], skip: int
) -> list[dict[str, Any]]:
    """The last row before a page, and those of the page."""
    rows: list[dict[str, Any]] = await collection.find(condition, sort=keys, skip=skip, limit=PAGE + 1).to_list()
    return rows


def _time(reply: Reply) -> float:
    """Milliseconds; raises RuntimeError for a refusal."""
    if not reply.is_ok:
        raise RuntimeError(f"a page answered {reply.outcome}")
    return reply.milliseconds
