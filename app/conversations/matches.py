"""Queries of the search over messages. All of them are bounded by the time that the database itself may work."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.errors import ExecutionTimeout, OperationFailure

from app.conversations import snippets
from app.conversations.model import Message
from app.conversations.resource import MESSAGES
from app.conversations.search_query import Marking, Query
from app.conversations.snippets import ranges_of
from app.kit.deadlines import SEARCH_SECONDS
from app.kit.pages import Read, Run
from app.kit.paging import Position, Sort, after
from app.kit.repository import Repository, Row, Scope
from app.kit.threads import in_thread

_SECONDS_TO_MARK = SEARCH_SECONDS / 2
_GIVEN_UP = frozenset({50, 51156})
"""The time is over; the pattern took too many steps."""
_Stage = Mapping[str, Any]


class MatchRepository(Repository[Message]):
    document = Message
    resource = MESSAGES

    def best_words(self, scope: Scope, query: Query) -> Read:
        """Reads what the text index finds, with `score`, the best first."""
        projection = self._projection(query.listing)

        async def read(sort: Sort, start: Position | None, size: int) -> Run:
            stages: list[_Stage] = [
                *_matching(scope, query),
                {"$project": {**projection, "score": 1}},
                *([] if start is None else [{"$match": after(sort, start)}]),
                {"$sort": dict(sort.keys)},
                {"$limit": size + 1},
            ]
            rows = await self._aggregate(stages)
            return Run(rows[:size], len(rows) <= size)

        return read

    async def marks(self, scope: Scope, ids: Sequence[ObjectId], marking: Marking) -> dict[ObjectId, Row]:
        """What `snippet_of` reads of each message. Where further matches cannot be found in time, it is the first of
        each; where these cannot, none."""
        marks = await self._marks(scope, ids, marking, with_text=True)
        in_forms = await self._better_in_forms(scope, marks, marking)
        selected = {"$match": scope.where({"_id": {"$in": list(in_forms)}})}
        rows = await self._aggregate([selected, {"$project": {"content": 1}}]) if in_forms else []
        for row in rows:
            id = row["_id"]
            marks[id] = await in_thread(partial(snippets.of_content, in_forms[id], row["content"]))
        return marks

    async def ranges(self, scope: Scope, ids: Sequence[ObjectId], marking: Marking) -> dict[ObjectId, Row]:
        """What `ranges_of` reads of each message, or of its normal form where that has more matches."""
        marks = await self._mark(scope, ids, snippets.stages(marking, with_text=False))
        return marks | await self._better_in_forms(scope, marks, marking)

    async def _better_in_forms(
        self, scope: Scope, marks: Mapping[ObjectId, Row], marking: Marking
    ) -> dict[ObjectId, Row]:
        """What `ranges_of` reads of the normal forms of messages, of those that have more matches there."""
        ids = [id for id, mark in marks.items() if mark["has_form"]]
        if marking.in_forms is None or not ids:
            return {}
        found = await self._marks(scope, ids, marking.in_forms, with_text=False, path=snippets.FORM)
        return {id: mark for id, mark in found.items() if len(ranges_of(mark)) > len(ranges_of(marks[id]))}

    async def _marks(
        self, scope: Scope, ids: Sequence[ObjectId], marking: Marking, **options: Any
    ) -> dict[ObjectId, Row]:
        for first_only in (False, True):
            try:
                stages = snippets.stages(marking, first_only=first_only, **options)
                return await self._mark(scope, ids, stages, seconds=_SECONDS_TO_MARK)
            except OperationFailure as error:
                if error.code not in _GIVEN_UP:
                    raise
        return await self._mark(scope, ids, snippets.stages(snippets.UNMARKED, **options))

    async def _mark(
        self, scope: Scope, ids: Sequence[ObjectId], stages: Sequence[_Stage], *, seconds: float = SEARCH_SECONDS
    ) -> dict[ObjectId, Row]:
        if not ids:
            return {}
        selected = {"$match": scope.where({"_id": {"$in": list(ids)}})}
        rows = await self._aggregate([selected, *stages], seconds=seconds)
        return {row["_id"]: row for row in rows}

    async def met_before(
        self, scope: Scope, query: Query, ids: Sequence[ObjectId], position: Position
    ) -> set[ObjectId]:
        """Which of the conversations have a match at the position or before it."""
        place = after(query.sort.reversed, Position(position.value, position.id, included=True))
        counts = await self._count_by_conversation(scope, query, ids, {"$match": place})
        return set(counts)

    async def hits(self, scope: Scope, query: Query, ids: Sequence[ObjectId]) -> dict[ObjectId, int] | None:
        """How many matches each of the conversations has; None when they cannot be counted in time."""
        try:
            return await self._count_by_conversation(scope, query, ids)
        except ExecutionTimeout:
            return None

    async def _count_by_conversation(
        self, scope: Scope, query: Query, ids: Sequence[ObjectId], *stages: _Stage
    ) -> dict[ObjectId, int]:
        if not ids:
            return {}
        matching = _matching(scope, query, {"conversation_id": {"$in": list(ids)}})
        group = {"$group": {"_id": "$conversation_id", "count": {"$sum": 1}}}
        rows = await self._aggregate([*matching, *stages, group])
        return {row["_id"]: row["count"] for row in rows}

    async def _aggregate(self, stages: Sequence[_Stage], *, seconds: float = SEARCH_SECONDS) -> list[Row]:
        cursor = await self.collection.aggregate(stages, maxTimeMS=int(1000 * seconds))
        return await cursor.to_list()


def _matching(scope: Scope, query: Query, *conditions: Mapping[str, Any]) -> list[_Stage]:
    stages: list[_Stage] = [{"$match": scope.where(*query.conditions, *conditions)}]
    if query.words is not None:
        stages.append({"$addFields": {"score": {"$meta": "textScore"}}})
    return stages
