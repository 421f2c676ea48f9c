"""The one table of services. Local start, roles, permissions, images, manifests, tests and docs follow from it.

To add a worker, add a row here; the test of this module then names everything else that is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar


class Need(StrEnum):
    """What a process must be able to reach besides PostgreSQL and NATS, which all of them need."""

    REDIS = "redis"
    BLOBS = "blobs"
    """The blob store of uploads and artifacts."""


class ScaledBy(StrEnum):
    """The signal that decides how many processes run."""

    CPU = "cpu"
    BACKLOG = "backlog"
    """Jobs waiting and running in its queue, divided by the slots of a process."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a process works as in the database; it owns nothing there. The migrations create it."""

    GATEWAY: ClassVar["Role"]
    WORKER: ClassVar["Role"]
    """The ledger of all queues, and no tables of its own: for a worker without a row below, and for a login that
    serves all workers. The role of a worker with a row is no member of it."""

    name: str
    of_a_tenant: str | None = None
    """What it becomes for a statement on behalf of a tenant; None: it has no such statements."""

    @property
    def names(self) -> tuple[str, ...]:
        """Both, without what is not there."""
        return (self.name,) if self.of_a_tenant is None else (self.name, self.of_a_tenant)


Role.GATEWAY = Role("argosy_gateway", "argosy_tenant")
Role.WORKER = Role("argosy_worker")


@dataclass(frozen=True, slots=True)
class RedisRights:
    """What a process may do in Redis besides running scripts, in which it may do no more."""

    prefixes: tuple[str, ...]
    """How the keys begin that it, and no other service, reads and writes."""
    commands: tuple[str, ...]
    """What it does with them, also in scripts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """What the rest of the fleet has to know of a service.

    `name` is its folder under services/, its extra in pyproject.toml, its process under `make up`, its user on
    NATS and, for a worker, its queue.
    """

    name: str
    is_worker: bool = True
    schema: str
    """The PostgreSQL schema that only it writes."""
    role: Role
    concurrency_variable: str | None
    """The environment variable with the number of slots of a process; None for the gateway."""
    ports: Mapping[str, int]
    """Container ports by what is spoken there; `probes` is internal."""
    needs: frozenset[Need]
    redis: RedisRights | None = None
    """With Need.REDIS."""
    calls_ports: frozenset[int] = frozenset()
    """Ports of servers in the world that it calls; besides, with Need.BLOBS, the blob store's 443."""
    scaled_by: ScaledBy = ScaledBy.BACKLOG
    does_what_is_left: bool = False
    """Its jobs may be retried also when they have succeeded: its handler then does what is not done yet."""
    is_listed: bool = True
    """Whether its jobs are meant where no queue is named. Not those with events, of which there are many."""
    preemptible: bool = True
    """Whether a running job may be asked to give way to other tenants: its handler can be stopped at any time."""
    may_enqueue: frozenset[str] = frozenset()
    """Kinds of jobs of other queues that it may make, as `queue:kind`. Nothing else leads into another queue."""
    may_read: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of tables of the ledger that it may read on behalf of a tenant, by table. Of its own queue only."""
    reads_datasets: bool = False
    """Whether it may read, on behalf of a tenant, the columns that other services publish (datasets.py)."""


PROBES = 9100

GATEWAY = ServiceRow(
    name="gateway",
    is_worker=False,
    schema="identity",
    role=Role.GATEWAY,
    concurrency_variable=None,
    ports={"http": 8080, "probes": PROBES},
    needs=frozenset({Need.REDIS, Need.BLOBS}),
    redis=RedisRights(
        prefixes=("argosy:limit:", "argosy:limits:"),
        commands=(
            *("get", "set", "hget", "hset", "hgetall", "hdel", "hincrby", "pexpire"),
            *("zadd", "zcard", "zrange", "zrem", "zremrangebyscore"),
        ),
    ),
    calls_ports=frozenset({443}),  # the keys of an outside token issuer
    scaled_by=ScaledBy.CPU,
)
OCR = ServiceRow(
    name="ocr",
    schema="ocr",
    role=Role("argosy_ocr"),
    concurrency_variable="OCR_CONCURRENCY",
    ports={"probes": PROBES},
    needs=frozenset({Need.BLOBS}),
)
MAILER = ServiceRow(
    name="mailer",
    schema="mail",
    role=Role("argosy_mailer", "argosy_mailer_tenant"),
    concurrency_variable="EMAIL_CONCURRENCY",
    ports={"lmtp": 8024, "probes": PROBES},
    needs=frozenset({Need.REDIS, Need.BLOBS}),
    redis=RedisRights(
        prefixes=("argosy:mail:",),
        commands=("get", "set", "expire", "pexpire", "zadd", "zcard", "zrange", "zremrangebyscore"),
    ),
    calls_ports=frozenset({25, 465, 587}),  # mail relays
    does_what_is_left=True,  # recipients that a letter has not reached
    may_read={"ledger.jobs": ("id", "tenant", "finished_at")},  # whether a letter's job has ended
)
ANALYTICS = ServiceRow(
    name="analytics",
    schema="analytics",
    role=Role("argosy_analytics", "argosy_analytics_tenant"),
    concurrency_variable="ANALYTICS_CONCURRENCY",
    ports={"probes": PROBES},
    needs=frozenset({Need.BLOBS}),
    is_listed=False,
)
EXPORTER = ServiceRow(
    name="exporter",
    schema="export",
    role=Role("argosy_exporter", "argosy_exporter_tenant"),
    concurrency_variable="EXPORT_CONCURRENCY",
    ports={"probes": PROBES},
    needs=frozenset({Need.BLOBS}),
    may_enqueue=frozenset({"mailer:letter"}),  # with the link of a file
    reads_datasets=True,
)

SYNC = ServiceRow(
    name="sync",
    schema="sync",
    role=Role("argosy_sync", "argosy_sync_tenant"),
    concurrency_variable="SYNC_CONCURRENCY",
    ports={"probes": PROBES},
    needs=frozenset({Need.BLOBS}),
    calls_ports=frozenset({80, 443, 8080, 8443}),  # the sources
    may_enqueue=frozenset({"mailer:moved", "mailer:letter"}),  # what deadlines follow; what is new to a search
    may_read={"ledger.jobs": ("id", "tenant", "finished_at")},  # whether a source's run has ended
)

SERVICES = (GATEWAY, OCR, MAILER, ANALYTICS, SYNC, EXPORTER)


def queues_of(services: Iterable[ServiceRow]) -> tuple[str, ...]:
    """The queues of those that are workers, each named after its worker."""
    return tuple(service.name for service in services if service.is_worker)


QUEUES = queues_of(SERVICES)
"""Every queue of the fleet."""
QUEUES_THAT_DO_WHAT_IS_LEFT = queues_of(service for service in SERVICES if service.does_what_is_left)
"""Those whose succeeded jobs may be retried."""
QUEUES_UNLISTED = queues_of(service for service in SERVICES if not service.is_listed)
"""Those whose jobs are listed, cancelled and retried only where they are named."""
QUEUES_NOT_PREEMPTED = queues_of(service for service in SERVICES if not service.preemptible)
"""Those whose running jobs are never asked to give way."""


def login_of(name: str) -> str:
    """The database login of the service `name`, a member of the roles that the service works as."""
    return f"argosy_{name}_login"


def role_of(name: str) -> Role:
    """The role of the service `name`; of a worker without tables of its own, Role.WORKER."""
    return next((service.role for service in SERVICES if service.name == name), Role.WORKER)
