"""POST /v1/auth/token: exchange e-mail and password for a token."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.admission import charge_account
from services.gateway.http.json_io import Text, json_response, read_json
from services.gateway.http.schemas import Token
from services.gateway.http.state import state_of
from services.gateway.identity.accounts import PASSWORD_AT_MOST, verify
from services.gateway.identity.tokens import LIFE_S
from services.gateway.problems import NotFound, Unauthenticated

ADDRESS = r"^[^@\s\x00-\x1f\x7f-\x9f\ufeff]+@[^@\s\x00-\x1f\x7f-\x9f\ufeff]+$"
"""`\\s` has U+0085 here, and U+FEFF where callers check it (ECMA-262): neither is in an address for both."""


class SignIn(BaseModel):
    """The body of POST /v1/auth/token."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": "ann@example.com", "password": "…"}]}
    )

    email: Annotated[str, Field(min_length=3, max_length=320, pattern=ADDRESS)]
    password: Annotated[Text, Field(min_length=1, max_length=PASSWORD_AT_MOST)]


async def sign_in(request: Request) -> Response:
    """Exchange e-mail and password for a token that expires after 15 minutes."""
    state = state_of(request)
    if not state.tokens.issues:
        raise NotFound("There are no tokens here: TOKEN_SECRET is not set.")
    body = await read_json(request, SignIn)
    email = body.email.lower()
    await charge_account(request, email)
    identity = await verify(state.database, email, body.password)
    if identity is None:
        raise Unauthenticated("The e-mail or the password is wrong.")
    document: Token = {
        "access_token": state.tokens.issue(identity), "token_type": "Bearer", "expires_in": LIFE_S
    }  # fmt: skip
    return json_response(document, headers={"Cache-Control": "no-store"})
