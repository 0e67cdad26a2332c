"""The search over messages: results with snippets, in order of time or relevance, by message or by conversation."""

from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from app.conversations.matches import MatchRepository
from app.conversations.ranking import Window, key_of, position_of, ranked, read_position, score
from app.conversations.repository import ConversationRepository, MessageRepository
from app.conversations.resource import MESSAGES
from app.conversations.search_query import SHOWN_MEMBERS, Query
from app.conversations.snippets import ranges_of, snippet_of
from app.kit.deadlines import SEARCH_SECONDS
from app.kit.effort import Effort
from app.kit.pages import Read
from app.kit.paging import Cursors, Position, Sort
from app.kit.repository import Row, Scope, patience

BATCH = 100
"""Matches that are read at once where not each of them is shown."""


@dataclass(frozen=True)
class Limits:
    """`looked_at`: matches that one page looks at. `ranked`: the newest matches, which are put in order of relevance.
    `seconds`: after which a page looks at no more."""

    looked_at: int = 1000
    ranked: int = 1000
    seconds: float = SEARCH_SECONDS


@dataclass(frozen=True)
class Results:
    """A page: items as they go to the client, the cursors of its neighbours, and whether it stopped before it was
    full or, ranked, before all matches were ranked."""

    items: Sequence[dict[str, Any]]
    next: str | None
    prev: str | None
    is_partial: bool


@dataclass(frozen=True)
class _Stretch:
    """Matches in order that are shown, and where there are more of them: None at the end."""

    rows: list[Row]
    next: Position | None
    prev: Position | None = None
    is_partial: bool = False


class MessageSearch:
    def __init__(
        self,
        messages: MessageRepository,
        matches: MatchRepository,
        conversations: ConversationRepository,
        cursors: Cursors,
        *,
        text_language: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`text_language`: of the text index; None when there is none."""
        self._messages = messages
        self._matches = matches
        self._conversations = conversations
        self._cursors = cursors
        self.text_language = text_language
        self.limits = limits or Limits()

    async def search(self, scope: Scope, query: Query) -> Results:
        """One page. `scope`: of messages and conversations alike, which both tell their owner.

        Raises InvalidCursor, InvalidPattern, QueryTooExpensive and TooManySearches.
        """
        cursor = query.listing.cursor
        position = None if cursor is None else self._cursors.decode(query.fingerprint, cursor)
        homes = _Homes(self._conversations, scope, query.tag)
        read = self._by_relevance if query.is_ranked and query.words is None else self._in_order
        async with patience(), self._messages.effort(scope) as effort:
            stretch = await read(scope, query, homes, position, effort)
            items = await self._items(scope, query, homes, stretch.rows)
        following, previous = (
            None if edge is None else self._cursors.encode(query.fingerprint, edge)
            for edge in (stretch.next, stretch.prev)
        )
        return Results(items, following, previous, stretch.is_partial)

    async def _in_order(
        self, scope: Scope, query: Query, homes: "_Homes", position: Position | None, effort: Effort
    ) -> _Stretch:
        """As they are read: by time, or by the database's own score."""
        words = query.words is not None
        read = self._matches.best_words(scope, query) if words else self._messages.matches(scope, query.listing, effort)
        limit, is_backward = query.listing.limit, query.listing.is_backward
        sieve = self._firsts(scope, query, homes, position) if query.is_grouped else homes.keep
        size = BATCH if query.is_grouped or query.tag is not None else limit
        sort = query.sort.reversed if is_backward else query.sort
        found = await self._gather(read, sort, position, sieve, limit=limit, size=max(size, limit))
        if is_backward:
            return _Stretch(found.rows[::-1], _edge(found.rows[:1], sort, position), found.next, found.is_partial)
        if query.is_grouped or query.is_ranked:
            return found
        return replace(found, prev=_edge(found.rows[:1], sort, position))

    async def _by_relevance(
        self, scope: Scope, query: Query, homes: "_Homes", position: Position | None, effort: Effort
    ) -> _Stretch:
        """The newest matches by their scores, of which a page is a part."""
        last, window = (None, None) if position is None else read_position(position)
        read = self._messages.matches(scope, query.listing, effort)
        most = self.limits.ranked
        start, limit = (None, most) if window is None else (window.start, 2 * most)  # some may have come in between
        found = await self._gather(read, query.sort, start, homes.keep, limit=limit, size=most)
        if not found.rows:
            return _Stretch([], None, is_partial=found.next is not None)
        if window is None:
            oldest = found.next or Position.of(found.rows[-1], query.sort)
            window = Window(Position.of(found.rows[0], query.sort), oldest, found.next is not None)
        rows = await self._rated(scope, query, filter(window.holds, found.rows))
        order = ranked(rows, is_grouped=query.is_grouped)
        rest = order if last is None else [row for row in order if key_of(row) < last]
        page = rest[: query.listing.limit]
        following = position_of(page[-1], window) if len(page) < len(rest) else None
        return _Stretch(page, following, is_partial=window.has_more)

    async def _rated(self, scope: Scope, query: Query, rows: Iterable[Row]) -> list[Row]:
        by_id = {row["_id"]: row for row in rows}
        found = await self._matches.ranges(scope, list(by_id), query.marking)
        return [{**by_id[id], "score": score(len(ranges_of(mark)), mark["length"])} for id, mark in found.items()]

    async def _gather(
        self,
        read: Read,
        sort: Sort,
        start: Position | None,
        sieve: Callable[[list[Row]], Awaitable[list[Row]]],
        *,
        limit: int,
        size: int,
    ) -> _Stretch:
        """Up to `limit` rows that the sieve lets through, read `size` at once."""
        clock = get_running_loop().time
        deadline = clock() + self.limits.seconds
        rows: list[Row] = []
        looked_at, position = 0, start
        while True:
            run = await read(sort, position, size)
            rows += await sieve(run.rows)
            if len(rows) > limit:
                del rows[limit:]
                return _Stretch(rows, Position.of(rows[-1], sort))
            if run.is_last:
                return _Stretch(rows, None)
            position = run.stopped_at or Position.of(run.rows[-1], sort)
            if len(rows) == limit:
                return _Stretch(rows, position)
            looked_at += len(run.rows)
            if run.stopped_at is not None or looked_at >= self.limits.looked_at or clock() > deadline:
                return _Stretch(rows, position, is_partial=True)

    def _firsts(
        self, scope: Scope, query: Query, homes: "_Homes", position: Position | None
    ) -> Callable[[list[Row]], Awaitable[list[Row]]]:
        """A sieve that keeps the first match of each conversation, over all pages."""
        seen: set[ObjectId] = set()

        async def keep(rows: list[Row]) -> list[Row]:
            firsts: dict[ObjectId, Row] = {}
            for row in await homes.keep(rows):
                if row["conversation_id"] not in seen:
                    firsts.setdefault(row["conversation_id"], row)
            seen.update(firsts)
            if position is None:
                return list(firsts.values())
            shown = await self._matches.met_before(scope, query, list(firsts), position)
            return [row for id, row in firsts.items() if id not in shown]

        return keep

    async def _items(self, scope: Scope, query: Query, homes: "_Homes", rows: Sequence[Row]) -> list[dict[str, Any]]:
        marks = await self._matches.marks(scope, [row["_id"] for row in rows], query.marking)
        hits = None
        if query.is_grouped:
            hits = await self._matches.hits(scope, query, [row["conversation_id"] for row in rows])
        items = []
        for row in rows:
            if row["_id"] not in marks:
                continue  # it was removed just now
            home = row["conversation_id"]
            item = {
                "message": MESSAGES.render(row, SHOWN_MEMBERS),
                "conversation": homes.render(home),
                "snippet": snippet_of(marks[row["_id"]]),
            }
            if query.is_ranked:
                item["score"] = row["score"]
            if query.is_grouped:
                item["hits"] = None if hits is None else hits.get(home, 0)
            items.append(item)
        return items


class _Homes:
    """The conversations of matches: those that are there, may be seen and have the tag. Each is asked for once."""

    def __init__(self, conversations: ConversationRepository, scope: Scope, tag: str | None) -> None:
        self._conversations = conversations
        self._scope = scope
        self._condition = {} if tag is None else {"tags": tag}
        self._known: dict[ObjectId, Row | None] = {}

    async def keep(self, rows: list[Row]) -> list[Row]:
        """The rows that live in one of them."""
        unknown = {row["conversation_id"] for row in rows} - self._known.keys()
        if unknown:
            self._known.update(dict.fromkeys(unknown))
            briefs = await self._conversations.briefs(self._scope, list(unknown), self._condition)
            self._known.update({brief["_id"]: brief for brief in briefs})
        return [row for row in rows if self._known[row["conversation_id"]] is not None]

    def render(self, id: ObjectId) -> dict[str, Any]:
        brief = self._known[id] or {}
        return {"id": id, "title": brief.get("title"), "tags": brief.get("tags")}


def _edge(rows: Sequence[Row], sort: Sort, position: Position | None) -> Position | None:
    """Where to turn back: at the first row that was read, or at the cursor where there is none; the list's beginning
    has no cursor."""
    if position is None:
        return None
    return Position.of(rows[0], sort) if rows else replace(position, included=True)
