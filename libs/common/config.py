"""The one reader of the environment.

Each service has a `Settings` of its own, put together from the small groups below and its own fields.
A field's name in capitals is its environment variable. All mistakes are reported together, and no value
is ever repeated in a message: it might be a secret.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(BaseSettings):
    """Fields are environment variables; an empty one counts as not set."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)


class DatabaseSettings(Environment):
    """The PostgreSQL server and the bounds of this process's pool."""

    database_url: SecretStr
    """postgresql://user:password@host:port/name"""
    db_max_connections: Annotated[int, Field(ge=1)] = 10
    db_min_connections: Annotated[int, Field(ge=0)] = 2
    db_connection_timeout: Annotated[int, Field(gt=0)] = 30_000
    """Milliseconds to wait for a connection, new or from the pool."""
    db_idle_timeout: Annotated[int, Field(gt=0)] = 300_000
    """Milliseconds after which an idle connection above the minimum is closed."""


class BusSettings(Environment):
    """The NATS server."""

    nats_url: SecretStr
    """nats://token@host:port"""


class RedisSettings(Environment):
    """The Redis server: REDIS_URL, or its parts."""

    redis_url: SecretStr | None = None
    redis_host: str = "127.0.0.1"
    redis_port: int = 6379
    redis_password: SecretStr | None = None
    redis_db: int = 0

    @property
    def redis_address(self) -> str:
        """redis://:password@host:port/db"""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        password = f":{self.redis_password.get_secret_value()}@" if self.redis_password else ""
        return f"redis://{password}{self.redis_host}:{self.redis_port}/{self.redis_db}"


class BlobSettings(Environment):
    """Where uploads and artifacts lie."""

    blob_url: SecretStr
    """file:///a/folder, s3://bucket/prefix, gs://… or az://…; credentials come as that cloud's own variables."""


class ProbeSettings(Environment):
    """The internal port of /livez, /readyz and /metrics."""

    probes_host: str = "127.0.0.1"
    probes_port: Annotated[int, Field(ge=0, le=65535)] = 9100
    """0 takes any free port; the log says which."""


STOPPING_TAKES_S = 8.0
"""The longest that a stop needs beside the grace time: giving back, a last write, closing the connections."""


class ShutdownSettings(Environment):
    """How a process stops. The chain of times is checked at the start, not found out in the middle of a stop."""

    shutdown_grace_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds that running jobs, or open requests, get to finish after SIGTERM before they are given back."""
    termination_grace_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds from SIGTERM to SIGKILL: what the platform gives (Kubernetes: terminationGracePeriodSeconds)."""

    @model_validator(mode="after")
    def _there_is_time_to_stop(self) -> Self:
        if self.shutdown_grace_s + STOPPING_TAKES_S > self.termination_grace_s:
            raise ValueError(
                f"SHUTDOWN_GRACE_S and the {STOPPING_TAKES_S:g} s that stopping takes are more than "
                f"TERMINATION_GRACE_S: jobs would be killed instead of given back"
            )
        return self


class WorkerSettings(DatabaseSettings, BusSettings, BlobSettings, ProbeSettings, ShutdownSettings):
    """What every worker needs; each adds its own."""

    argosy_run_dir: str | None = None
    """Under `make up`, whose supervisor looks at its processes' environment to find them."""

    @property
    def slots(self) -> int:
        """How many jobs this process runs at once."""
        raise AttributeError("a worker's Settings says how many slots it has")


HARMLESS = frozenset(
    (
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("PYTHONPATH", "PYTHONHOME", "TESSDATA_PREFIX", "OMP_THREAD_LIMIT", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        "ARGOSY_RUN_DIR",
    )
)
"""Variables that no secret is in."""

S = TypeVar("S", bound=Environment)


def load(settings: type[S]) -> S:
    """Read `settings` from the environment, or end the process with every mistake on stderr (exit code 2)."""
    try:
        return settings()
    except ValidationError as invalid:
        for error in invalid.errors(include_input=False, include_context=False, include_url=False):
            name = ".".join(str(part) for part in error["loc"]).upper()
            print(f"{name}: {error['msg']}" if name else error["msg"], file=sys.stderr)
        sys.exit(2)


@contextmanager
def without_secrets() -> Iterator[None]:
    """What is started within the block gets only the harmless part of the environment."""
    kept = dict(os.environ)
    forget_secrets()
    try:
        yield
    finally:
        os.environ.update(kept)


def forget_secrets() -> None:
    """What is started from now on gets only the harmless part of the environment. For when all has been read."""
    for name in os.environ.keys() - HARMLESS:
        del os.environ[name]
