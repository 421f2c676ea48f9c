"""A job's public id: `job_` and the 32 hex digits of its UUIDv7."""

from uuid import UUID

PREFIX = "job_"


def public_id(job_id: UUID) -> str:
    """The id as callers see it."""
    return PREFIX + job_id.hex


def parse_id(text: str) -> UUID | None:
    """The id behind `text`, or None if it is not one."""
    digits = text.removeprefix(PREFIX)
    if digits == text or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(hex=digits)
