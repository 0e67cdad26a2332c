"""What clients send and get when they sign in, in the words of OAuth 2."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.auth.permissions import Permission
from app.kit.schemas import ID, Output
from app.kit.security import MAX_PASSWORD_CHARACTERS

GRANT_TYPES = ("password", "refresh_token")
_Text = Annotated[str, StringConstraints(max_length=1000)]
_Secret = Annotated[SecretStr, Field(max_length=1000)]


class Form(BaseModel):
    """What has no value is left out, and what is not known ignored, as OAuth has it (RFC 6749, 3.2)."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    client_id: _Text | None = Field(None, description="taken and ignored: every client is a public one")
    client_secret: _Secret | None = None


class TokenForm(Form):
    grant_type: Annotated[_Text | None, Field(json_schema_extra={"enum": list(GRANT_TYPES)})] = None
    username: Annotated[str, StringConstraints(max_length=320)] | None = Field(None, description="the e-mail")
    password: Annotated[SecretStr, Field(max_length=MAX_PASSWORD_CHARACTERS)] | None = None
    refresh_token: _Secret | None = None
    scope: _Text | None = Field(None, description="scopes, separated by spaces; all that your role allows without")


class RevokeForm(Form):
    token: _Secret | None = None
    token_type_hint: _Text | None = None


class TokenRead(Output):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="seconds")
    refresh_token: str = Field(description="exchange it once for the next tokens; it replaces the one you sent")
    scope: str


class SignInError(BaseModel):
    """An error as OAuth 2 has it."""

    error: str = Field(description="invalid_grant, invalid_scope, invalid_request, ...")
    error_description: str
    request_id: str


class SessionRead(Output):
    id: ID
    user_id: ID
    scopes: list[Permission]
    address: str
    user_agent: str
    last_used_at: datetime
    expires_at: datetime
    created_at: datetime
