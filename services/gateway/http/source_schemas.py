"""As schemas.py, of what concerns sources; libs/common/contracts/sync.py has the rest."""

from typing_extensions import TypedDict

from libs.common.contracts.sync import RejectedRecord, SourceAnswer


class SourcePage(TypedDict):
    """A page of sources by name."""

    sources: list[SourceAnswer]
    next_cursor: str | None


class RejectedRecords(TypedDict):
    """A page of records that did not pass."""

    rejected: list[RejectedRecord]
    next_cursor: str | None
