"""Everything about getting in, built once over an open database: one door for every credential."""

from dataclasses import dataclass
from datetime import timedelta

from app.auth.credentials import REFUSAL, Basic, Bearer, Presented
from app.auth.issuer import Issuer
from app.auth.memory import Digests, Memory
from app.auth.passwords import PasswordService
from app.auth.principal import Identified, Principal
from app.auth.repository import KeyRepository
from app.auth.service import KeyService
from app.auth.session_repository import SessionRepository
from app.auth.sessions import SessionService
from app.auth.signing import SigningKeyRepository, SigningKeys
from app.auth.throttle import LoginAttemptRepository, LoginLimits, LoginThrottle
from app.auth.tokens import ISSUER, AccessTokens, issuer_of
from app.config import Settings
from app.kit.errors import Unauthenticated
from app.kit.paging import Cursors
from app.kit.security import hash_key
from app.kit.transactions import Transactions
from app.users.repository import UserRepository
from app.users.service import UserService


@dataclass(frozen=True)
class Access:
    keys: KeyService
    passwords: PasswordService
    sessions: SessionService
    signing_keys: SigningKeys
    issuer: Issuer | None
    memory: Memory
    digests: Digests

    async def authenticate(self, presented: Presented, address: str) -> Principal:
        """Who comes with the credential, from an address. Raises Unauthenticated, TooManyLogins, Unavailable."""
        parts = (presented.secret,) if isinstance(presented, Bearer) else ("basic", presented.name, presented.password)
        return await self.memory.recall(self.digests(*parts), lambda: self._identify(presented, address))

    async def _identify(self, presented: Presented, address: str) -> Identified:
        match presented:
            case Basic(name, password):
                return await self._identify_basic(name, password, address)
            case Bearer(secret) if (issuer := issuer_of(secret)) is not None:
                return await self._identify_token(secret, issuer)
            case Bearer(secret):  # also a key of the operator's choice that has dots
                return await self.keys.identify(secret)

    async def _identify_basic(self, name: str, password: str, address: str) -> Identified:
        """Tools that know nothing else put a key where a password is asked for."""
        if await self.keys.rows.find_by_hash(hash_key(password)) is not None:
            return await self.keys.identify(password)
        return await self.passwords.identify(name, password, address)

    async def _identify_token(self, token: str, issuer: str) -> Identified:
        if issuer == ISSUER:
            return await self.sessions.identify(token)
        if self.issuer is not None and issuer == self.issuer.name:
            return await self.issuer.identify(token)
        raise Unauthenticated(REFUSAL)

    async def aclose(self) -> None:
        await self.keys.aclose()
        if self.issuer is not None:
            await self.issuer.aclose()


def build_access(settings: Settings, cursors: Cursors, transactions: Transactions, users: UserRepository) -> Access:
    memory = Memory()
    token_life = timedelta(minutes=settings.access_token_minutes)
    signing_keys = SigningKeys(
        SigningKeyRepository(),
        secret="" if settings.token_secret is None else settings.token_secret.get_secret_value(),
        max_age=timedelta(days=settings.signing_key_days),
        token_life=token_life + timedelta(minutes=1),
    )
    limits = LoginLimits(settings.login_attempts, settings.login_attempts_per_address, settings.login_window)
    sessions = SessionService(
        SessionRepository(cursors),
        users,
        AccessTokens(signing_keys, life=token_life),
        transactions,
        memory,
        life=timedelta(days=settings.session_days),
        leeway=timedelta(seconds=settings.refresh_leeway),
    )
    return Access(
        keys=KeyService(KeyRepository(cursors), users, memory),
        passwords=PasswordService(users, LoginThrottle(LoginAttemptRepository(), limits)),
        sessions=sessions,
        signing_keys=signing_keys,
        issuer=None if settings.oidc is None else Issuer(settings.oidc, UserService(users, transactions)),
        memory=memory,
        digests=Digests(),
    )
