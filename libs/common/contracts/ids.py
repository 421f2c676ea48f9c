"""Public ids: a kind, `_`, and the 32 hex digits of a UUIDv7, such as `job_0198…`, `schedule_…`, `replay_…`."""

from uuid import UUID


def public_id(id_: UUID, what: str = "job") -> str:
    """The id that callers see. `what` is its kind."""
    return f"{what}_{id_.hex}"


def parse_id(text: str, what: str = "job") -> UUID | None:
    """The UUID in the public id `text`, or None if it is not an id of kind `what`."""
    digits = text.removeprefix(f"{what}_")
    if digits == text or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(hex=digits)
