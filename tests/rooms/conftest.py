"""The upstream of the tests of turns, which rooms follow."""

from tests.turns.conftest import conversation, settings, upstream

__all__ = ["conversation", "settings", "upstream"]
