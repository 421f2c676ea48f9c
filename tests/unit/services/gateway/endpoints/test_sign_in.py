"""What may be sent to sign in."""

import pytest
from pydantic import ValidationError

from services.gateway.endpoints.sign_in import SignIn
from services.gateway.identity.accounts import PASSWORD_AT_MOST


@pytest.mark.parametrize("email", ["", "ann", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "a\x00@b", "a@" + "b" * 320])
def test_what_is_no_address_is_not_looked_for(email: str) -> None:
    with pytest.raises(ValidationError):
        SignIn.model_validate({"email": email, "password": "x"})


def test_a_password_has_an_end() -> None:
    """Hashing an endless one would cost the gateway more than its sender."""
    longest = SignIn.model_validate({"email": "ann@example.com", "password": "x" * PASSWORD_AT_MOST})
    assert len(longest.password) == PASSWORD_AT_MOST
    for password in ("", "x" * (PASSWORD_AT_MOST + 1), "x\x00"):
        with pytest.raises(ValidationError):
            SignIn.model_validate({"email": "ann@example.com", "password": password})
