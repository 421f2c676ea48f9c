"""Paths of the API, filled with ids."""

from libs.common.contracts.ids import public_id
from libs.common.ledger.jobs import new_id


def filled(path: str) -> str:
    """A path with ids that nobody has."""
    for what in ("job", "schedule", "replay"):
        path = path.replace(f"/v1/{what}s/{{id}}", f"/v1/{what}s/{public_id(new_id(), what)}")
    path = path.replace("/v1/mail/{id}", f"/v1/mail/{public_id(new_id())}").replace("{address}", "a@b.test")
    path = path.replace("{subject}", "nobody").replace("/v1/event-types/{name}", "/v1/event-types/nothing")
    return path.replace("{id}", "nobody").replace("{name}", "ocr").replace("{token}", "x")
