"""Sessions: signing in, going on with refresh tokens that are used once each, and signing out.

Each refresh token is exchanged for the next. One that comes again later than a lost answer explains is a stolen one,
or its thief's was exchanged before it: the whole session ends, so that whoever of the two is the thief is out.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId

from app.auth.credentials import REFUSAL
from app.auth.memory import Memory
from app.auth.permissions import WHOLES, Permission, in_short, with_parts
from app.auth.principal import ROLE_PERMISSIONS, Credential, Identified, Principal
from app.auth.session_model import RefreshToken, Session
from app.auth.session_repository import SessionRepository
from app.auth.tokens import ISSUER, AccessTokens, issuer_of
from app.kit.clock import now
from app.kit.errors import Invalid, Unauthenticated
from app.kit.etag import Versions
from app.kit.logs import logger
from app.kit.repository import Row, Scope
from app.kit.security import hash_key, new_refresh_token
from app.kit.transactions import Transactions
from app.users.repository import Account, UserRepository

REFRESH_REFUSAL = "This refresh token is unknown, used, expired or revoked."
INVALID_SCOPE = "invalid_scope"


@dataclass(frozen=True)
class Client:
    """Where somebody signs in from."""

    address: str
    user_agent: str


@dataclass(frozen=True)
class Grant:
    """What a client gets; the refresh token is not kept. `seconds`: how long the access token counts."""

    access_token: str
    seconds: int
    refresh_token: str
    permissions: frozenset[Permission]


@dataclass(frozen=True)
class _Carried:
    """A session that goes on."""

    id: ObjectId
    account: Account
    permissions: frozenset[Permission]
    expires_at: datetime


class _Reused(Exception):
    def __init__(self, session_id: ObjectId) -> None:
        super().__init__(str(session_id))
        self.session_id = session_id


class SessionService:
    def __init__(
        self,
        rows: SessionRepository,
        users: UserRepository,
        tokens: AccessTokens,
        transactions: Transactions,
        memory: Memory,
        *,
        life: timedelta,
        leeway: timedelta,
    ) -> None:
        """`life`: of a session; `leeway`: for how long a used refresh token may be a client's that lost the answer."""
        self.rows = rows
        self._users = users
        self._tokens = tokens
        self._transactions = transactions
        self._memory = memory
        self._life = life
        self._leeway = leeway

    async def open(self, account: Account, scopes: Collection[Permission] | None, client: Client) -> Grant:
        """Sign in who has just proven to be the account's owner. Raises Invalid when no scope is left to them."""
        permissions = _permitted(account, scopes or WHOLES)
        secret, instant = new_refresh_token(), now()
        session = Session(
            user_id=account.id,
            epoch=account.epoch,
            scopes=in_short(scopes or WHOLES),
            address=client.address[:100],
            user_agent=client.user_agent[:200],
            last_used_at=instant,
            expires_at=instant + self._life,
        )

        async def store() -> None:
            await self.rows.insert(session)
            await self.rows.add_token(_refresh_token(secret, session.id, account.id, session.expires_at))

        await self._transactions.run(store)
        return await self._grant(_Carried(session.id, account, permissions, session.expires_at), secret)

    async def refresh(self, used: str, scopes: Collection[Permission] | None) -> Grant:
        """Exchange a refresh token; `scopes` may narrow the access token. Raises Unauthenticated, and Invalid."""
        secret = new_refresh_token()

        async def carry_on() -> _Carried:
            return await self._carry_on(hash_key(used), secret, scopes)

        try:
            carried = await self._transactions.run(carry_on)
        except _Reused as reused:
            logger.warning("refresh_token_reused", session=str(reused.session_id))
            await self._end(reused.session_id)
            raise Unauthenticated(REFRESH_REFUSAL) from reused
        return await self._grant(carried, secret)

    async def revoke(self, token: str) -> None:
        """End the session that a refresh or access token is of; what is none is none afterwards (RFC 7009)."""
        row = await self.rows.token(hash_key(token))
        if row is not None:
            await self._end(row["session_id"])
        elif issuer_of(token) == ISSUER:
            try:
                claims = await self._tokens.read(token)
            except Unauthenticated:
                return
            await self._end(claims.session_id)

    async def end(self, scope: Scope, id: ObjectId, versions: Versions = None) -> None:
        """Sign out of one session. Raises NotFound, PreconditionFailed."""

        async def remove() -> None:
            await self.rows.delete(scope, id, versions=versions)
            await self.rows.remove(id)

        with self._memory.forgetting():
            await self._transactions.run(remove)

    async def end_all(self, user_id: ObjectId) -> None:
        """Sign a user out everywhere."""

        async def remove() -> None:
            await self.rows.remove_of_user(user_id)

        with self._memory.forgetting():
            await self._transactions.run(remove)

    async def identify(self, token: str) -> Identified:
        """Who comes with this access token. Raises Unauthenticated, with the same words whatever is wrong with it."""
        claims = await self._tokens.read(token)
        session = await self.rows.state(claims.session_id)
        if session is None or session["user_id"] != claims.user_id:
            raise Unauthenticated(REFUSAL)
        account = await self._account_of(session)
        if account is None:
            raise Unauthenticated(REFUSAL)
        permissions = claims.permissions & with_parts(session["scopes"]) & ROLE_PERMISSIONS[account.role]
        principal = Principal(account.id, Credential("session", claims.session_id), account.role, permissions)
        return Identified(principal, min(claims.expires_at, session["expires_at"]))

    async def _carry_on(self, used_hash: str, secret: str, scopes: Collection[Permission] | None) -> _Carried:
        """Put the next refresh token in the place of the used one. Raises Unauthenticated, Invalid, _Reused."""
        token = await self.rows.token(used_hash)
        session = None if token is None else await self.rows.state(token["session_id"])
        account = None if session is None else await self._account_of(session)
        if token is None or session is None or account is None:
            raise Unauthenticated(REFRESH_REFUSAL)
        instant = now()
        if token["used_at"] is not None and token["used_at"] + self._leeway <= instant:
            raise _Reused(session["_id"])
        granted = with_parts(session["scopes"])
        if not granted.issuperset(scopes or ()):
            raise Invalid.field("body.scope", "goes beyond what the session was opened with", reason=INVALID_SCOPE)
        permissions = _permitted(account, scopes or granted)
        await self.rows.use_token(used_hash, instant)
        await self.rows.add_token(_refresh_token(secret, session["_id"], account.id, session["expires_at"]))
        await self.rows.touch(session["_id"], instant)
        return _Carried(session["_id"], account, permissions, session["expires_at"])

    async def _account_of(self, session: Row) -> Account | None:
        """The account, as long as the session counts for it."""
        account = await self._users.account(session["user_id"])
        is_over = session["expires_at"] <= now()
        return None if is_over or account is None or account.disabled or account.epoch != session["epoch"] else account

    async def _grant(self, carried: _Carried, secret: str) -> Grant:
        token, seconds = await self._tokens.issue(
            carried.account.id, carried.id, carried.permissions, until=carried.expires_at
        )
        return Grant(token, seconds, secret, carried.permissions)

    async def _end(self, session_id: ObjectId) -> None:
        async def remove() -> None:
            await self.rows.remove(session_id)

        with self._memory.forgetting():
            await self._transactions.run(remove)


def _permitted(account: Account, scopes: Iterable[Permission]) -> frozenset[Permission]:
    permissions = with_parts(scopes) & ROLE_PERMISSIONS[account.role]
    if not permissions:
        raise Invalid.field("body.scope", "holds nothing that your role allows", reason=INVALID_SCOPE)
    return permissions


def _refresh_token(secret: str, session_id: ObjectId, user_id: ObjectId, expires_at: datetime) -> RefreshToken:
    return RefreshToken(_id=hash_key(secret), session_id=session_id, user_id=user_id, expires_at=expires_at)
