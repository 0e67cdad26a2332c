"""How many streams one user holds open in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bson import ObjectId

from app.kit.errors import TooManyStreams


class Places:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[ObjectId] = Counter()

    def check(self, user_id: ObjectId) -> None:
        """Raises TooManyStreams when none is left."""
        if self._taken[user_id] >= self._limit:
            raise TooManyStreams(f"You have {self._limit} open streams here; close one, or follow over a WebSocket.")

    @contextmanager
    def taking(self, user_id: ObjectId) -> Iterator[None]:
        """Hold one of the user's places. Raises TooManyStreams."""
        self.check(user_id)
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]
