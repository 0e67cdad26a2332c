"""Leaves an upstream alone that has failed several times in a row, and tries it again later with one call."""

import time
from collections.abc import Callable

from app.llm.provider import ErrorCode, ProviderError

_AGAINST_THE_UPSTREAM: frozenset[ErrorCode] = frozenset(
    ("upstream_timeout", "upstream_unreachable", "upstream_failed", "upstream_cut")
)
_TRIAL_SECONDS = 1.0
"""When to ask again while the one trial call is under way."""


class Breaker:
    """Closed: every call may go. Open, for `cooldown` seconds: none may. Then one may, and decides.

    Only what speaks against the upstream counts: connections, timeouts and 5xx; what it says about a request (4xx) or
    about our rate (429) shows that it is alive.
    """

    def __init__(self, failures: int, cooldown: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._cooldown = cooldown
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._is_tried = False

    def wait(self) -> float:
        """Seconds until a call may go; 0 when it may now."""
        if self._open_until is None:
            return 0.0
        return _TRIAL_SECONDS if self._is_tried else max(0.0, self._open_until - self._clock())

    def enter(self) -> bool:
        """A call goes, which `wait` has allowed; whether it is the trial. Tell what became of it."""
        self._is_tried = self._open_until is not None
        return self._is_tried

    def succeeded(self) -> None:
        self._failures = 0
        self._close()

    def answered(self) -> None:
        """The upstream is there, whatever it says and whether or not it will get to the end of it."""
        if self._open_until is not None:
            self._failures = 0
            self._close()

    def failed(self, error: ProviderError, *, is_trial: bool) -> None:
        is_against = error.code in _AGAINST_THE_UPSTREAM and (error.status is None or error.status >= 500)
        if not is_against:
            self.left(is_trial=is_trial)
            self.answered()
        elif is_trial or self._open_until is None:
            self._failures += 1
            self.left(is_trial=is_trial)
            if is_trial or self._failures >= self._limit:
                self._open_until = self._clock() + self._cooldown

    def left(self, *, is_trial: bool) -> None:
        """The caller went away; nothing is known. After a trial the next call may be one."""
        if is_trial:
            self._is_tried = False

    def _close(self) -> None:
        self._open_until = None
        self._is_tried = False
