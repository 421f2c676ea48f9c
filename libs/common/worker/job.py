"""What a handler sees of a job, and what it gives back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from libs.common.blobs import job_folder
from libs.common.db import Connection
from libs.common.ledger.flows import Child, NewChild

P = TypeVar("P", bound=BaseModel)


def storable(text: str) -> str:
    """`text` without what PostgreSQL and UTF-8 have no place for: NULs and lone surrogates."""
    return text.replace("\x00", "").encode(errors="replace").decode()


Effects = Callable[[Connection], Awaitable[None]]


@dataclass(slots=True)
class Job(Generic[P]):
    """One attempt at a job."""

    id: UUID
    attempt: int
    tenant: str
    kind: str
    payload: P
    report: Callable[[dict[str, Any]], None] = field(repr=False)
    parent: UUID | None = None
    children: tuple[Child, ...] = ()
    """All of them, ended, in the order they were made; none before this job has fanned out."""

    def progress(self, done: int, total: int | None, note: str | None = None) -> None:
        """Say how far the work is. Cheap: call it as often as something changes."""
        self.report({"done": done, "total": total, "note": None if note is None else storable(note)})

    def blob_key(self, name: str) -> str:
        """Where this attempt's file `name` goes; no other attempt does. A child's lie with its parent's."""
        if self.parent is not None:
            return f"{job_folder(self.tenant, self.parent)}/{self.id.hex}/{self.attempt}/{name}"
        return f"{job_folder(self.tenant, self.id)}/{self.attempt}/{name}"


@dataclass(slots=True, frozen=True)
class Artifact:
    """A file a job made, already in the blob store under `key`. `size` in bytes, `sha256` in hex."""

    name: str
    media_type: str
    size: int
    sha256: str
    key: str


@dataclass(slots=True, frozen=True)
class Done:
    """A job well done.

    `result`: a small JSON object. `effects`: rows the handler wants written; they commit in one transaction
    with the job's end, or not at all if another worker has the job by now.
    """

    result: dict[str, Any] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    effects: Effects | None = None


@dataclass(slots=True, frozen=True)
class Snooze:
    """Not done yet, and nothing to do before `after_s` seconds have passed. This costs no retry.

    The job waits without a slot, as if it had been scheduled; then it is run once more, with all of its retries:
    what went wrong before has been got over.
    """

    after_s: float


@dataclass(slots=True, frozen=True)
class FanOut:
    """Not done yet: `children` do the work, as jobs of the same queue.

    When they have all ended the job is run once more, with what became of them in `Job.children`.
    """

    children: tuple[NewChild, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a job that would wait for nobody."""
        if not self.children:
            raise ValueError("a job fans out into one child at least")


HandlerResult = Done | FanOut | Snooze
"""What a handler returns."""
