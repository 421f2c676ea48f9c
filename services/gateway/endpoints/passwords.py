"""Passwords of documents: nobody but the OCR worker sees one after the request that has brought it.

It is in no payload. It is sealed for its job (libs/common/sealing.py) and goes into `jobs.secret`, which the
database empties when the job ends.
"""

from typing import Annotated
from uuid import UUID

from pydantic import Field, SecretStr
from starlette.requests import Request

from libs.common.contracts.ocr import PASSWORDS
from libs.common.sealing import Sealer
from services.gateway.http.state import state_of
from services.gateway.problems import Invalid

Password = Annotated[SecretStr, Field(min_length=1, max_length=127)]
"""Of a PDF, which knows no longer ones."""


def sealed(request: Request, password: SecretStr | None, tenant: str, job: UUID, *, within: str) -> bytes | None:
    """The password, sealed for the OCR job; None if there is none. Raises Invalid if passwords cannot be kept."""
    if password is None:
        return None
    return _sealer(request, within).seal(password.get_secret_value().encode(), tenant, job)


def fingerprint(request: Request, password: SecretStr | None, *, within: str) -> str | None:
    """What tells passwords apart, and does not help who guesses one. Raises Invalid as `sealed` does."""
    if password is None:
        return None
    return _sealer(request, within).fingerprint(password.get_secret_value().encode()).hex()


def _sealer(request: Request, within: str) -> Sealer:
    secret = state_of(request).settings.ocr_secret
    if secret is None:
        message = "Passwords are not taken here: the gateway has no OCR_SECRET."
        raise Invalid(errors=[{"field": f"{within}.password", "message": message}])
    return Sealer(secret.get_secret_value(), PASSWORDS)
