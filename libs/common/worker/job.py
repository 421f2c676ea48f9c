"""What a handler gets (Job), and what it may return (Done, FanOut, Snooze)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from libs.common.blobs import job_folder
from libs.common.db import Connection
from libs.common.errors import storable
from libs.common.ledger.claim import Retried
from libs.common.ledger.flows import Child, NewChild

P = TypeVar("P", bound=BaseModel)


Effects = Callable[[Connection], Awaitable[dict[str, Any] | None]]
"""Writes rows in the given transaction, and may return what it adds to the job's result."""


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
    """All children in the order of their creation. All have ended. Empty before this job has fanned out."""
    retried: Retried | None = None
    """The last retry by hand, if there was one."""

    def progress(
        self, done: int, total: int | None, note: str | None = None, *, seconds_left: int | None = None
    ) -> None:
        """Report progress. It is cheap: call it whenever something changes."""
        told = {"done": done, "total": total, "note": None if note is None else storable(note)}
        self.report(told if seconds_left is None else told | {"seconds_left": seconds_left})

    def blob_key(self, name: str) -> str:
        """The key in the blob store for the file `name` of this attempt. Every attempt has its own keys.

        The files of a child are in the folder of its parent.
        """
        if self.parent is not None:
            return f"{job_folder(self.tenant, self.parent)}/{self.id.hex}/{self.attempt}/{name}"
        return f"{job_folder(self.tenant, self.id)}/{self.attempt}/{name}"


@dataclass(slots=True, frozen=True)
class Artifact:
    """A file that a job has stored in the blob store under `key`. `size` is in bytes, `sha256` in hex."""

    name: str
    media_type: str
    size: int
    sha256: str
    key: str
    filename: str | None = None
    """What it is saved as when it is downloaded. None: `name`."""


@dataclass(slots=True, frozen=True)
class Done:
    """The job has succeeded.

    `result`: a small JSON object. `effects`: writes the handler's own rows, and may return more for the result,
    such as counts that are known only then. The rows commit in one transaction with the end of the job, or not at
    all if the worker no longer holds the job. Effects work as the service (see Database.as_tenant), and may run
    more than once. If they take longer than effects.EFFECTS_WITHIN_S, the attempt fails with `effects_too_slow`.

    `when_written` is called with the result when the effects have committed, once at most: for what must not
    happen if they are rolled back, such as metrics.

    `forget_payload`: the ledger keeps `{}` instead of the payload, which nobody needs once the job has succeeded.
    Not for a child: its parent reads it.
    """

    result: dict[str, Any] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    effects: Effects | None = None
    when_written: Callable[[dict[str, Any]], None] | None = None
    forget_payload: bool = False


@dataclass(slots=True, frozen=True)
class Snooze:
    """The job is not done, and is to run again after `after_s` seconds. This does not count as a failure.

    Meanwhile the job holds no slot, like a scheduled job. When it runs again, it has all of its retries: earlier
    failures no longer count.
    """

    after_s: float


@dataclass(slots=True, frozen=True)
class FanOut:
    """The job is not done: `children` do the work, as jobs of the same queue.

    When all of them have ended, the job runs once more, with their outcomes in `Job.children`.
    """

    children: tuple[NewChild, ...]

    def __post_init__(self) -> None:
        """Raises ValueError if there are no children."""
        if not self.children:
            raise ValueError("a job must fan out into at least one child")


HandlerResult = Done | FanOut | Snooze
"""What a handler may return."""
