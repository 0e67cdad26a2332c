"""What the change feed tells of jobs: one came, one has changed its state, one is gone."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bson import ObjectId

from app.kit.changes import Change, ChangeFeed, Watch

OnChange = Callable[[ObjectId | None], None]
"""Called with the job that changed; None: any of them may have."""

_CONDITION = {
    "$or": [
        {"operationType": {"$in": ["insert", "delete"]}},
        {"operationType": "update", "updateDescription.updatedFields.state": {"$exists": True}},
    ]
}


class Watching:
    """Hands on what happens to the jobs of one collection, here and elsewhere."""

    def __init__(self, collection: str, feed: ChangeFeed) -> None:
        self._listeners: list[OnChange] = []
        feed.watch(Watch(collection, _CONDITION, (), self._on_change, lambda: self.tell(None)))

    def listen(self, listener: OnChange) -> None:
        self._listeners.append(listener)

    @contextmanager
    def listening(self, id: ObjectId) -> Iterator[asyncio.Event]:
        """An event that is set when this job may have changed."""
        event = asyncio.Event()

        def listener(changed: ObjectId | None) -> None:
            if changed is None or changed == id:
                event.set()

        self._listeners.append(listener)
        try:
            yield event
        finally:
            self._listeners.remove(listener)

    def tell(self, id: ObjectId | None) -> None:
        """Say that a job has changed, without waiting for the feed to say so."""
        for listener in list(self._listeners):
            listener(id)

    def _on_change(self, change: Change) -> None:
        self.tell(change.key)
