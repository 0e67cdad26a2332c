"""The first admin: made once, with a key that is shown once, or with the one of the operator's choice."""

import asyncio
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.auth.credentials import Bearer
from app.auth.permissions import PERMISSIONS
from app.auth.schemas import KeyCreate
from app.bootstrap import ADMIN_EMAIL, KEY_FILE, ensure_admin
from app.config import Settings
from app.kit.errors import Unavailable
from app.kit.repository import EVERYTHING
from app.services import Services, build_services
from app.users.schemas import UserCreate, UserUpdate

CHOSEN = "chosen-by-the-operator-0123456789"


def with_key(services: Services, key: str) -> Services:
    """The services as a process started with `VERBATIM_BOOTSTRAP_KEY=key` has them."""
    settings = services.settings.model_copy(update={"bootstrap_key": SecretStr(key)})
    return build_services(settings, services.database)


def names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


async def test_an_empty_database_gets_an_admin_with_a_private_key_file(services: Services, tmp_path: Path) -> None:
    key = await ensure_admin(services)

    assert key is not None
    file = tmp_path / KEY_FILE
    assert file.read_text() == f"{key}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names_in(tmp_path) == [KEY_FILE]
    assert (await services.access.authenticate(Bearer(key), "test")).permissions == set(PERMISSIONS)


async def test_a_second_start_makes_nothing_and_leaves_the_file(services: Services, tmp_path: Path) -> None:
    await ensure_admin(services)
    before = (tmp_path / KEY_FILE).read_text()

    assert await ensure_admin(services) is None

    assert (tmp_path / KEY_FILE).read_text() == before
    assert await services.users.rows.collection.count_documents({}) == 1


@pytest.mark.mongod
async def test_of_several_processes_that_start_at_once_one_makes_the_admin(services: Services, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(6)]
    processes = [
        build_services(services.settings.model_copy(update={"data": folder}), services.database) for folder in folders
    ]

    keys = await asyncio.gather(*(ensure_admin(process) for process in processes))

    shown = [key for key in keys if key is not None]
    assert len(shown) == 1
    assert [folder for folder in folders if names_in(folder)] == [folders[keys.index(shown[0])]]
    assert await services.users.rows.collection.count_documents({}) == 1
    assert await services.keys.rows.collection.count_documents({}) == 1


async def test_nobody_is_made_when_the_key_cannot_be_written(services: Services, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    blocked_services = build_services(services.settings.model_copy(update={"data": blocked}), services.database)

    with pytest.raises(Unavailable, match=r"cannot be written .* VERBATIM_BOOTSTRAP_KEY"):
        await ensure_admin(blocked_services)

    assert not await services.users.rows.has_admin()


async def test_the_operators_key_is_an_admins(services: Services, tmp_path: Path) -> None:
    chosen = with_key(services, CHOSEN)

    assert await ensure_admin(chosen) is None
    assert await ensure_admin(chosen) is None

    assert (await chosen.access.authenticate(Bearer(CHOSEN), "test")).is_admin
    assert names_in(tmp_path) == []
    row = await chosen.keys.rows.collection.find_one({})
    assert row is not None
    assert CHOSEN not in str(row)
    assert CHOSEN.startswith(row["prefix"])
    assert len(row["prefix"]) <= len(CHOSEN) // 4
    assert await chosen.keys.rows.collection.count_documents({}) == 1
    await chosen.keys.aclose()


async def test_a_key_of_the_operators_may_look_like_a_token(services: Services) -> None:
    for key in ("a.key.with-dots-0123456789", "eyJhbGciOiJub25lIn0.bm90IEpTT04."):
        chosen = with_key(services, key)
        await ensure_admin(chosen)
        assert (await chosen.access.authenticate(Bearer(key), "test")).is_admin
        await chosen.access.aclose()


@pytest.mark.mongod
async def test_several_processes_with_the_operators_key_agree(services: Services) -> None:
    processes = [with_key(services, CHOSEN) for _ in range(6)]

    await asyncio.gather(*(ensure_admin(process) for process in processes))

    assert await services.users.rows.collection.count_documents({}) == 1
    assert await services.keys.rows.collection.count_documents({}) == 1


@pytest.mark.parametrize("change", [{"role": "user"}, {"disabled": True}, {"email": "boss@example.com"}], ids=str)
async def test_the_operators_key_opens_again_whatever_was_done_to_its_admin(
    services: Services, change: dict[str, object]
) -> None:
    chosen = with_key(services, CHOSEN)
    await ensure_admin(chosen)
    await services.users.create(UserCreate(email="other@example.com", name="Other", role="admin"))
    first = await services.users.rows.find_by_email(ADMIN_EMAIL)
    assert first is not None
    await services.users.patch(EVERYTHING, first["_id"], change, None, UserUpdate)

    again = with_key(services, CHOSEN)
    await ensure_admin(again)

    principal = await again.access.authenticate(Bearer(CHOSEN), "test")
    assert (principal.user_id, principal.is_admin) == (first["_id"], True)
    assert await services.users.rows.collection.count_documents({}) == 2
    await again.keys.aclose()


async def test_a_narrow_key_of_the_same_value_becomes_an_admins(services: Services) -> None:
    user = await services.users.create(UserCreate(email="ana@example.com", name="Ana"))
    row, secret = await services.keys.create(user["_id"], KeyCreate(name="k", scopes=["read"]))
    await services.keys.rows.collection.update_one({"_id": row["_id"]}, {"$set": {"expires_at": row["created_at"]}})
    chosen = with_key(services, secret)

    await ensure_admin(chosen)

    assert (await chosen.access.authenticate(Bearer(secret), "test")).is_admin
    await chosen.keys.aclose()


@pytest.mark.parametrize("key", ["with space", "ключ", "tab\there", "line\n"])
def test_a_key_that_no_header_can_carry_is_refused_by_the_settings(key: str) -> None:
    with pytest.raises(ValidationError, match="printable ASCII"):
        Settings(_env_file=None, bootstrap_key=SecretStr(key))


def test_a_short_key_is_refused_in_production_and_never_shown() -> None:
    with pytest.raises(ValidationError, match="at least 32 random characters") as refused:
        Settings(_env_file=None, environment="production", bootstrap_key=SecretStr("short-one"))
    assert "short-one" not in str(refused.value)
    assert CHOSEN not in repr(Settings(_env_file=None, bootstrap_key=SecretStr(CHOSEN)))
