"""Export jobs, which are jobs like all others, run by processes that a test holds in the middle."""

from tests.exports.conftest import at_once

__all__ = ["at_once"]
