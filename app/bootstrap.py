"""The first admin: made when the database has none, or from `VERBATIM_BOOTSTRAP_KEY`."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from app.auth.model import ApiKey
from app.auth.schemas import KeyCreate
from app.kit.errors import Conflict
from app.kit.repository import EVERYTHING, Row
from app.kit.security import SHOWN_CHARACTERS, hash_key
from app.services import Services
from app.users.schemas import UserCreate

ADMIN_EMAIL = "admin@localhost"
KEY_FILE = "admin.key"
_BOOTSTRAP_PREFIX_SHARE = 4


async def ensure_admin(services: Services) -> str | None:
    """Make the first admin if there is none. Answers the new key when one was made, which is shown this once.

    The key is also written to `admin.key` in the data folder, readable by its owner alone.
    """
    settings = services.settings
    if settings.bootstrap_key is not None:
        await _adopt(services, settings.bootstrap_key.get_secret_value())
        return None
    if await services.users.rows.has_admin():
        return None
    return await _create(services, settings.data / KEY_FILE)


async def _admin(services: Services) -> Row:
    """The first admin's row; of several processes one makes it and the others find it."""
    with suppress(Conflict):
        return await services.users.create(UserCreate(email=ADMIN_EMAIL, name="Administrator", role="admin"))
    row = await services.users.rows.find_by_email(ADMIN_EMAIL)
    if row is None:
        raise Conflict("The first admin was removed while the server started; start it again.")
    return row


async def _adopt(services: Services, secret: str) -> None:
    """Make `secret` a key of the first admin, who is an enabled admin again if that was changed."""
    user = await _admin(services)
    if user["role"] != "admin" or user["disabled"]:
        await services.users.rows.update(EVERYTHING, user["_id"], {"$set": {"role": "admin", "disabled": False}})
    # Only as much of a chosen key is kept readable as gives nothing away.
    shown = secret[: min(SHOWN_CHARACTERS, len(secret) // _BOOTSTRAP_PREFIX_SHARE)]
    await services.keys.rows.put(
        ApiKey(user_id=user["_id"], name="VERBATIM_BOOTSTRAP_KEY", prefix=shown, hash=hash_key(secret))
    )


async def _create(services: Services, path: Path) -> str | None:
    async def write() -> str:
        user = await services.users.create(UserCreate(email=ADMIN_EMAIL, name="Administrator", role="admin"))
        _, secret = await services.keys.create(user["_id"], KeyCreate(name="First admin key"))
        return secret

    try:
        secret = await services.database.transactions.run(write)
    except Conflict:
        return None  # another process was faster, and has shown its key
    await asyncio.to_thread(_write_private, path, f"{secret}\n")
    return secret


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
