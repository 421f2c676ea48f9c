"""The only reader of the environment.

Each service has its own `Settings`, composed of the small groups below and its own fields. A field's name in
capitals is its environment variable. All mistakes are reported together. A message never repeats a value, because
it might be a secret.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote, unquote

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.errors import Misconfigured
from libs.common.redaction import redacted
from libs.common.server_addresses import NatsAddresses, check_redis_address, nats_addresses


def is_service_link(name: str, value: object) -> bool:
    """Whether Kubernetes set this variable: for a Service called `gateway`, GATEWAY_PORT is tcp://10.0.0.1:80."""
    return name.upper().endswith("_PORT") and re.match(r"(tcp|udp|sctp)://", str(value)) is not None


class Environment(BaseSettings):
    """Reads fields from environment variables. An empty variable counts as not set, and so does a service link."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_service_links(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in values.items() if not is_service_link(name, value)}


class DatabaseSettings(Environment):
    """The PostgreSQL server, and the size and timeouts of this process's connection pool."""

    database_url: SecretStr
    """postgresql://user:password@host:port/name"""
    db_max_connections: Annotated[int, Field(ge=1)] = 10
    db_min_connections: Annotated[int, Field(ge=0)] = 2
    db_connection_timeout: Annotated[int, Field(gt=0)] = 30_000
    """Milliseconds to wait for a connection, whether new or from the pool."""
    db_idle_timeout: Annotated[int, Field(gt=0)] = 300_000
    """Milliseconds after which an idle connection above the minimum is closed."""


class BusSettings(Environment):
    """The NATS server, or the servers of a cluster."""

    nats_url: SecretStr
    """nats://user:password@host:port; several are separated by commas"""
    nats_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """How many servers of a cluster keep a new stream of tickets; fewer if the cluster has fewer."""

    @property
    def nats_addresses(self) -> NatsAddresses:
        """The servers, and the login that is the same for all of them."""
        return nats_addresses(self.nats_url.get_secret_value())

    @field_validator("nats_url")
    @classmethod
    def _nats_url_can_be_read(cls, url: SecretStr) -> SecretStr:
        nats_addresses(url.get_secret_value())
        return url


REDIS_PARTS = frozenset(("redis_host", "redis_port", "redis_username", "redis_password", "redis_db"))


class RedisSettings(Environment):
    """The Redis server: REDIS_URL, or the separate parts of the address."""

    redis_url: SecretStr | None = None
    redis_host: str = "127.0.0.1"
    redis_port: int = 6379
    redis_username: str = ""
    """The user of this service; the default user if it is empty."""
    redis_password: SecretStr | None = None
    redis_db: int = 0

    @model_validator(mode="before")
    @classmethod
    def _the_url_is_enough(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Beside REDIS_URL, the parts are not read: they may be meant for another program."""
        if not values.get("redis_url"):
            return values
        return {name: value for name, value in values.items() if name not in REDIS_PARTS}

    @field_validator("redis_url")
    @classmethod
    def _redis_url_can_be_read(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_redis_address(url.get_secret_value())
        return url

    @property
    def redis_address(self) -> str:
        """redis://user:password@host:port/db"""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        password = self.redis_password.get_secret_value() if self.redis_password else ""
        login = f"{quote(self.redis_username, safe='')}:{quote(password, safe='')}@"
        return f"redis://{login.removeprefix(':@')}{self.redis_host}:{self.redis_port}/{self.redis_db}"


class BlobSettings(Environment):
    """Where uploads and artifacts are stored."""

    blob_url: SecretStr
    """file:///a/folder, s3://bucket/prefix, gs://… or az://…; credentials are in the cloud's own variables."""


PublicUrl = Annotated[
    str,
    Field(pattern=r"^https?://[^/?#@\s]+(/[\w.~%-]+)*/?$"),
    AfterValidator(lambda url: url.rstrip("/")),
]
"""Where the gateway is reached from outside, as far as what comes before `/v1/…`; without a slash at its end."""


class ProbeSettings(Environment):
    """The internal port of /livez, /readyz and /metrics."""

    probes_host: str = "127.0.0.1"
    probes_port: Annotated[int, Field(ge=0, le=65535)] = 9100
    """0 takes any free port; the log says which."""


STOPPING_TAKES_S = 8.0
"""The longest that a stop takes in addition to the grace time: releasing jobs, the last writes, closing the
connections."""


class ShutdownSettings(Environment):
    """How a process stops. The times are checked at the start, so that a stop cannot run out of time."""

    shutdown_grace_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds that running jobs or open requests have to finish after SIGTERM. Then jobs are released."""
    termination_grace_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that the platform allows from SIGTERM to SIGKILL (Kubernetes: terminationGracePeriodSeconds)."""

    @model_validator(mode="after")
    def _there_is_time_to_stop(self) -> Self:
        if self.shutdown_grace_s + STOPPING_TAKES_S > self.termination_grace_s:
            raise ValueError(
                f"SHUTDOWN_GRACE_S plus the {STOPPING_TAKES_S:g} s that stopping takes exceed "
                f"TERMINATION_GRACE_S: jobs would be killed instead of released"
            )
        return self


class TelemetrySettings(Environment):
    """What a process tells of itself: to Prometheus, and to servers of errors and traces if there are any."""

    argosy_version: str = "unknown"
    """The commit that runs. `make up` and `make images` give it."""
    gateway_env: Annotated[str, Field(pattern="^[a-z0-9]+$")] = "dev"
    """The environment. API keys must name it, so that a staging key is not valid in production."""
    errors_dsn: SecretStr | None = None
    """Where bugs are reported: https://key@host/project, as servers that speak Sentry's protocol print it."""

    tracing_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")] | None = None
    """Where traces go by OTLP over HTTP: http://collector:4318, to which /v1/traces is added. It has no login."""
    tracing_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of the traces that begin here. What callers send says itself whether it is sampled."""

    @field_validator("errors_dsn")
    @classmethod
    def _dsn_can_be_read(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is not None and not re.fullmatch(
            r"https?://\w+@[^/@?#\s]+/(?:[^?#\s]*/)?\d+", dsn.get_secret_value()
        ):
            raise ValueError("write it as the server of errors prints it: https://key@errors.example.com/1")
        return dsn


class WorkerSettings(
    DatabaseSettings, BusSettings, BlobSettings, ProbeSettings, ShutdownSettings, TelemetrySettings
):
    """The settings that every worker has; each service adds its own."""

    argosy_run_dir: str | None = None
    """Set by `make up`, whose supervisor finds its processes by this variable in their environment."""

    @property
    def slots(self) -> int:
        """How many jobs this process runs at the same time."""
        raise AttributeError("a worker's Settings class must define `slots`")


HARMLESS = frozenset(
    (
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("PYTHONPATH", "PYTHONHOME", "TESSDATA_PREFIX", "OMP_THREAD_LIMIT", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        "ARGOSY_RUN_DIR",
    )
)
"""Variables that contain no secret."""

SECRET_NAME = re.compile("SECRET|PASSWORD|TOKEN|CREDENTIAL|_KEY")
"""What is in the names of variables that hold secrets, such as those of clouds."""

MISCONFIGURED_EXIT_CODE = 2
"""Of a process whose settings cannot be read, or are refused by a server."""

S = TypeVar("S", bound=Environment)


def load(settings: type[S]) -> S:
    """Read `settings` from the environment. On mistakes, print all of them to stderr and exit with code 2."""
    try:
        return settings()
    except ValidationError as invalid:
        for error in invalid.errors(include_input=False, include_context=False, include_url=False):
            name = ".".join(str(part) for part in error["loc"]).upper()
            _complain(f"{name}: {error['msg']}" if name else error["msg"])
        sys.exit(MISCONFIGURED_EXIT_CODE)


def secrets_of(settings: Environment) -> set[str]:
    """Secret settings, the passwords in them, and the secrets of libraries in the environment."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    texts = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    texts |= {value for name, value in os.environ.items() if SECRET_NAME.search(name.upper())}
    addresses = [word for text in texts for word in re.split(r"[\s,]+", text) if "://" in word]
    passwords = {found[1] for word in addresses if (found := re.search("://[^/@]*?:([^/]*)@", word))}
    keys = {found[1] for word in addresses if (found := re.search("://([^/:@]{16,})@", word))}
    return {secret for secret in texts | passwords | {unquote(one) for one in passwords} | keys if secret}


def _complain(text: str) -> None:
    print(redacted(text.encode()).decode(), file=sys.stderr)


@contextmanager
def without_secrets() -> Iterator[None]:
    """Processes started within the block get only the HARMLESS variables of the environment."""
    kept = dict(os.environ)
    forget_secrets()
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def exit_if_refused() -> Iterator[None]:
    """If a server refuses the settings in the block, print why to stderr and exit with code 2, as `load` does."""
    try:
        yield
    except Misconfigured as refused:
        _complain(str(refused))
        sys.exit(MISCONFIGURED_EXIT_CODE)


def forget_secrets() -> None:
    """Remove all variables but the HARMLESS ones, so that processes started from now on get no secrets.

    Call it when all settings have been read.
    """
    for name in os.environ.keys() - HARMLESS:
        del os.environ[name]
