"""Reading the audit log. Nothing of it can be changed or deleted from here; entries end when their time is over."""

from typing import Any, NoReturn

from app.audit.model import AuditEntry
from app.audit.resource import AUDIT
from app.kit.repository import Repository


class AuditIsAppendOnly(TypeError):
    """Some code wants to change what was noted."""


class AuditRepository(Repository[AuditEntry]):
    document = AuditEntry
    resource = AUDIT

    async def update(self, *_: Any, **__: Any) -> NoReturn:
        raise AuditIsAppendOnly("Entries of the audit log are never changed.")

    async def delete(self, *_: Any, **__: Any) -> NoReturn:
        raise AuditIsAppendOnly("Entries of the audit log are never deleted before their time is over.")
