"""The header field Idempotency-Key: the same request with the same key is carried out once."""

import hashlib
import re

import orjson
from pydantic import BaseModel
from starlette.requests import Request

from libs.common.ledger.making import Once
from services.gateway.http.state import state_of
from services.gateway.problems import Invalid

IDEMPOTENCY_KEY = r"[\x21-\x7e]{1,255}"
REPLAYED = "Idempotency-Replayed"
MAX_AGE = "Idempotency-Max-Age"
DAY_S = 86_400


def idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key, if it has one. Raises Invalid."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(IDEMPOTENCY_KEY, keys[0]):
        message = "One, with 1 to 255 printable ASCII characters, no spaces."
        raise Invalid(errors=[{"field": "header.Idempotency-Key", "message": message}])
    return keys[0]


def once(request: Request, body: BaseModel) -> Once | None:
    """The request as one that is carried out once, if it has an Idempotency-Key. Raises Invalid."""
    key = idempotency_key(request)
    if key is None:
        return None
    operation, path_params = request.scope["endpoint"].__name__, request.path_params
    said = orjson.dumps([operation, path_params, body.model_dump(mode="json")])
    return Once(key, hashlib.sha256(said).digest())


def idempotency_headers(request: Request, *, is_repeat: bool, queue: str | None = None) -> dict[str, str]:
    """The header fields that tell about the request's Idempotency-Key, if it has one.

    Idempotency-Max-Age: the seconds for which the key is remembered. `queue`: that of the job that it made.
    """
    if "idempotency-key" not in request.headers:
        return {}
    days, days_by_queue = state_of(request).settings.days_kept
    if queue is not None:
        days = days_by_queue.get(queue, days)
    told = {MAX_AGE: str(int(days * DAY_S))}
    return told | {REPLAYED: "true"} if is_repeat else told
