"""Indexes that follow a server's settings and not its version. Number 0: before each start is before all versions.

They are settled by servers alone: a command may run with other settings, and would drop what the servers want.
"""

from collections.abc import AsyncGenerator
from typing import Any

from app.audit import keeping
from app.config import Settings
from app.conversations import text_index
from app.database import Database
from app.migrations.model import Migration, Step


def of_settings(settings: Settings) -> Migration:
    """Have the text index of `VERBATIM_TEXT_SEARCH`, and let entries of the audit log end after their days."""
    language = settings.text_language if settings.text_search else None

    async def differs(_: Database) -> bool:
        return not (await text_index.is_settled(language) and await keeping.is_settled(settings.audit_days))

    async def settle(_: Database, __: Any) -> AsyncGenerator[Step, None]:
        yield Step(0, 2, what="audit")
        await keeping.settle(settings.audit_days)
        yield Step(1, 2, what="messages")
        await text_index.settle(language)
        yield Step(2, 2)

    return Migration(0, "settings", "expand", "indexes that follow the settings of servers", settle, is_due=differs)
