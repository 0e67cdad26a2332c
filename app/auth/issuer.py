"""Tokens of an external issuer (OpenID Connect): who comes with one, and with which role.

A person is who the issuer's subject is, not who has the e-mail: that finds them the first time only, when the issuer
has verified it, and an account that is tied to one subject is never given to another.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.auth.credentials import REFUSAL
from app.auth.jwks import Jwks
from app.auth.principal import ROLE_PERMISSIONS, Credential, Identified, Principal
from app.auth.tokens import header_of, instant, verified
from app.kit.errors import Conflict, Forbidden, Unauthenticated
from app.kit.logs import logger
from app.oidc_settings import OidcSettings
from app.users.model import ROLES, Role
from app.users.repository import Account
from app.users.schemas import UserCreate
from app.users.service import UserService

_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
"""Others, such as logout tokens, are signed by the same keys for something else (RFC 8725, 3.11)."""
MAX_SUBJECT_CHARACTERS = 255
_UNKNOWN = "Nobody here has the verified e-mail of this token; an admin has to add you."


class Issuer:
    def __init__(self, settings: OidcSettings, users: UserService) -> None:
        self.name = settings.issuer
        self._settings = settings
        self._users = users
        self.jwks = Jwks(settings)

    async def identify(self, token: str) -> Identified:
        """Who comes with the token. Raises Unauthenticated when it does not count, Forbidden when its person or role
        does not, and Unavailable when the issuer's keys are not to be had."""
        claims = await self._verified(token)
        role = self._role(claims)
        account = await self._account(claims, role)
        if account.disabled:
            raise Unauthenticated(REFUSAL)
        effective = role or account.role
        principal = Principal(account.id, Credential("issuer"), effective, ROLE_PERMISSIONS[effective])
        return Identified(principal, instant(claims["exp"]))

    async def aclose(self) -> None:
        await self.jwks.aclose()

    async def _verified(self, token: str) -> Mapping[str, Any]:
        header = header_of(token)
        kind = header.get("typ", "jwt")
        key = await self.jwks.find(header.get("kid"))
        if key is None or str(kind).lower() not in _TYPES:
            raise Unauthenticated(REFUSAL)
        claims = verified(token, key.key, algorithms=key.algorithms, issuer=self.name, audience=self._settings.audience)
        subject = claims["sub"]
        if not (0 < len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isascii() and subject.isprintable()):
            raise Unauthenticated(REFUSAL)
        return claims

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        """The highest role that the claim gives; None when the account's own counts. Raises Forbidden."""
        if self._settings.role_claim is None:
            return None
        named = _values(claims, self._settings.role_claim)
        given = {role for value, role in self._settings.roles.items() if value in named}
        role = next((each for each in reversed(ROLES) if each in given), self._settings.default_role)
        if role is None:
            raise Forbidden("This token gives you no role here.")
        return role

    async def _account(self, claims: Mapping[str, Any], role: Role | None) -> Account:
        external_id = f"{self.name} {claims['sub']}"
        account = await self._users.rows.account_by_external_id(external_id)
        return account or await self._first_time(claims, external_id, role)

    async def _first_time(self, claims: Mapping[str, Any], external_id: str, role: Role | None) -> Account:
        """Find who has the verified e-mail, or make them, and tie the account to the subject. Raises Forbidden."""
        email = claims.get("email")
        is_verified = claims.get("email_verified") is True or claims.get("email_verified") == "true"
        if not isinstance(email, str) or not is_verified:
            raise Forbidden(_UNKNOWN)
        first_role = role or self._settings.default_role or "user"
        try:
            draft = UserCreate(email=email, name=_name(claims, email), role=first_role)
        except ValidationError as error:
            raise Forbidden(_UNKNOWN) from error
        account = await self._users.rows.account_by_email(draft.email)
        if account is None and self._settings.provision:
            account = await self._provision(draft)
        if account is None or not await self._users.rows.tie(account.id, external_id):
            raise Forbidden(_UNKNOWN)
        return account

    async def _provision(self, draft: UserCreate) -> Account | None:
        try:
            row = await self._users.create(draft)
            logger.info("user_provisioned", user=str(row["_id"]))
        except Conflict:
            pass  # another request was faster
        return await self._users.rows.account_by_email(draft.email)


def _name(claims: Mapping[str, Any], email: str) -> str:
    name = claims.get("name")
    return name.strip()[:200] if isinstance(name, str) and name.strip() else email


def _values(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """The text or texts at a path; a claim whose name has dots itself comes first."""
    value: Any = claims
    for part in (path,) if path in claims else path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    found = value if isinstance(value, list) else [value]
    return frozenset(each for each in found if isinstance(each, str))
