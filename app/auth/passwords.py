"""Who has the right password: in the same time and words whatever is wrong, and not too often."""

from dataclasses import replace
from time import monotonic

from pydantic import TypeAdapter, ValidationError

from app.audit.refusals import Refusals
from app.auth.memory import Digests
from app.auth.principal import ROLE_PERMISSIONS, Credential, Identified, Principal
from app.auth.throttle import LoginThrottle
from app.kit.errors import Unauthenticated
from app.kit.locks import KeyedLocks
from app.kit.logs import logger
from app.kit.schemas import Email
from app.kit.security import MAX_PASSWORD_CHARACTERS, hash_password, is_outdated, is_password
from app.users.repository import Account, UserRepository

PROVEN_SECONDS = 300.0
"""How long a password that was right need not be hashed again, as long as the stored hash is the same."""
PROVEN_PASSWORDS = 10_000
REFUSAL = "The e-mail or the password is wrong."
_emails: TypeAdapter[str] = TypeAdapter(Email)


class PasswordService:
    def __init__(self, users: UserRepository, throttle: LoginThrottle) -> None:
        self._users = users
        self._throttle = throttle
        self._digests = Digests()
        self._refusals = Refusals()
        self._proven: dict[bytes, tuple[float, str]] = {}
        self._locks: KeyedLocks[bytes] = KeyedLocks()

    async def identify(self, name: str, password: str, address: str) -> Identified:
        """Who comes with this e-mail and password. Raises as `verify`."""
        account = await self.verify(name, password, address)
        return Identified(Principal(account.id, Credential("password"), account.role, ROLE_PERMISSIONS[account.role]))

    async def verify(self, name: str, password: str, address: str) -> Account:
        """The account of the e-mail, if the password is right. Raises Unauthenticated, with the same words whatever is
        wrong, TooManyLogins, and Unavailable when too many passwords are being checked."""
        if len(password) > MAX_PASSWORD_CHARACTERS:
            raise Unauthenticated(REFUSAL)
        email = _email(name)
        digest = self._digests(email, password)
        async with self._locks.hold(digest):  # of many requests at once, one hashes
            account = await self._users.account_by_email(email)
            if account is None or not self._is_proven(digest, account):
                await self._throttle.admit(email, address)
                is_right = await is_password(account.password_hash if account else None, password)
                if account is None or account.disabled or not is_right:
                    logger.info("login_refused", address=address)
                    subject_id = None if account is None else account.id
                    await self._refusals.note(address, "login.refused", "users", subject_id, subject_id=subject_id)
                    raise Unauthenticated(REFUSAL)
                await self._throttle.succeeded(email, address)
                account = await self._renewed(account, password)
                self._remember(digest, account)
        if account.disabled:
            raise Unauthenticated(REFUSAL)
        return account

    async def _renewed(self, account: Account, password: str) -> Account:
        """The account with its password hashed at today's costs, so that it takes as long as everybody's."""
        old = account.password_hash
        if old is None or not is_outdated(old):
            return account
        new = await hash_password(password)
        await self._users.replace_hash(account.id, old, new)
        return replace(account, password_hash=new)

    def _is_proven(self, digest: bytes, account: Account) -> bool:
        until, stored_hash = self._proven.get(digest, (0.0, None))
        return until > monotonic() and stored_hash is not None and stored_hash == account.password_hash

    def _remember(self, digest: bytes, account: Account) -> None:
        if len(self._proven) >= PROVEN_PASSWORDS:
            self._proven.clear()
        self._proven[digest] = (monotonic() + PROVEN_SECONDS, account.password_hash or "")


def _email(name: str) -> str:
    """The address as it would be stored; what is none is looked for as it is, and not found."""
    try:
        return _emails.validate_python(name)
    except ValidationError:
        return name.encode("utf-8", "replace").decode()[:320]
