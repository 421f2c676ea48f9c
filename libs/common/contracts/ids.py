"""Public ids: what they name, `_`, and the 32 hex digits of a UUIDv7. `job_0198…`, `schedule_…`, `replay_…`."""

from uuid import UUID


def public_id(id_: UUID, what: str = "job") -> str:
    """The id as callers see it."""
    return f"{what}_{id_.hex}"


def parse_id(text: str, what: str = "job") -> UUID | None:
    """The id behind `text`, or None if it is not one of a `what`."""
    digits = text.removeprefix(f"{what}_")
    if digits == text or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(hex=digits)
