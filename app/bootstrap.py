"""The first admin: made when the database has none, or from `VERBATIM_BOOTSTRAP_KEY`."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from app.auth.model import ApiKey
from app.kit.errors import Conflict, Unavailable
from app.kit.repository import EVERYTHING, Row
from app.kit.security import SHOWN_CHARACTERS, hash_key, new_key
from app.services import Services
from app.users.schemas import UserCreate

ADMIN_EMAIL = "admin@localhost"
KEY_FILE = "admin.key"
_SHOWN_SHARE = 4
"""At most a quarter of a key is kept readable, so that a short one of the operator's choice is not given away."""


async def ensure_admin(services: Services) -> str | None:
    """Make the first admin if there is none. Answers the new key when one was made, which is shown this once.

    The key is also written to `admin.key` in the data folder, readable by its owner alone; raises Unavailable, and
    makes nobody, when that cannot be.
    """
    settings = services.settings
    if settings.bootstrap_key is not None:
        await _adopt(services, settings.bootstrap_key.get_secret_value())
        return None
    if await services.users.rows.has_admin():
        return None
    return await _create(services, settings.data / KEY_FILE)


async def _adopt(services: Services, secret: str) -> None:
    """Make `secret` a key of the first admin, who is an enabled admin again if that was changed."""
    user = await _holder(services, secret) or await _first_admin(services)
    if user["role"] != "admin" or user["disabled"]:
        await services.users.rows.update(EVERYTHING, user["_id"], {"$set": {"role": "admin", "disabled": False}})
    await services.keys.rows.put(_key(user, "VERBATIM_BOOTSTRAP_KEY", secret))


async def _holder(services: Services, secret: str) -> Row | None:
    """Who has the key from an earlier start, perhaps under another e-mail by now."""
    key = await services.keys.rows.find_by_hash(hash_key(secret))
    return None if key is None else await services.users.rows.find(EVERYTHING, {"_id": key["user_id"]})


async def _first_admin(services: Services) -> Row:
    """The first admin's row; of several processes one makes it and the others find it."""
    with suppress(Conflict):
        return await services.users.create(_administrator())
    row = await services.users.rows.find_by_email(ADMIN_EMAIL)
    if row is None:
        raise Conflict("The first admin was removed while the server started; start it again.")
    return row


async def _create(services: Services, path: Path) -> str | None:
    secret = new_key()
    draft = await _draft(path, f"{secret}\n")

    async def write() -> None:
        user = await services.users.create(_administrator())
        await services.keys.rows.insert(_key(user, "First admin key", secret))

    try:
        await services.database.transactions.run(write)
        await asyncio.to_thread(draft.replace, path)
    except Conflict:
        return None  # another process was faster, and has shown its key
    finally:
        await asyncio.to_thread(draft.unlink, missing_ok=True)
    return secret


def _administrator() -> UserCreate:
    return UserCreate(email=ADMIN_EMAIL, name="Administrator", role="admin")


def _key(user: Row, name: str, secret: str) -> ApiKey:
    shown = secret[: min(SHOWN_CHARACTERS, len(secret) // _SHOWN_SHARE)]
    return ApiKey(user_id=user["_id"], name=name, prefix=shown, hash=hash_key(secret))


async def _draft(path: Path, text: str) -> Path:
    """The text in a private file beside `path`, so that nothing but a rename is left to be done."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        await asyncio.to_thread(_write_private, draft, text)
    except OSError as error:
        raise Unavailable(
            f"The first admin key cannot be written to {path} ({error.strerror}); make the folder writable, "
            "or set VERBATIM_BOOTSTRAP_KEY."
        ) from error
    return draft


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
