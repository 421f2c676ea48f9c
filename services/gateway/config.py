"""The settings of the gateway, read from the environment."""

import re
from collections.abc import Mapping
from ipaddress import ip_network
from math import inf
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from libs.common.config import (
    STOPPING_TAKES_S,
    BlobSettings,
    BusSettings,
    DatabaseSettings,
    Environment,
    ProbeSettings,
    PublicUrl,
    RedisSettings,
    ShutdownSettings,
    TelemetrySettings,
)
from libs.common.contracts.services import QUEUES
from services.gateway.limits.policies import DEFAULTS, Policy, adjusted

KEYS_AT_MOST = 100
"""Keys of one tenant that can be used at the same time, unless GATEWAY_MAX_KEYS says otherwise."""


class LimitSettings(RedisSettings):
    """The rate limits, and the Redis that counts them."""

    limits: str = ""
    """Limits that differ from limits/policies.py: `api=600/min, ocr=100/h, ip=off, search=shadow 60/min`."""
    limits_budget_ms: Annotated[float, Field(gt=0)] = 10.0
    """Milliseconds that Redis may take for a decision. After that the gateway decides by its share."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The limits of tenants without own limits."""
        return adjusted(DEFAULTS, _parsed_limits(self.limits))

    @field_validator("limits")
    @classmethod
    def _can_be_read(cls, limits: str) -> str:
        adjusted(DEFAULTS, _parsed_limits(limits))
        return limits


class TokenSettings(Environment):
    """JWTs: of an external issuer (all of JWT_…), and our own (TOKEN_SECRET)."""

    token_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Signs the tokens of POST /v1/auth/token; the same at every gateway. Without it, no tokens are issued."""
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_url: Annotated[str, Field(pattern="^https?://")] | None = None
    jwt_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Either the address of the issuer's public keys, or a secret shared with it."""
    jwt_algorithms: str = ""
    """If empty: RS256 with a JWKS, HS256 with a secret."""
    jwt_tenant: str | None = None
    """The tenant of all callers with such a token. If it is not set, JWT_TENANT_CLAIM names the tenant."""
    jwt_tenant_claim: str = "tenant"
    jwt_role_claim: str = "role"
    jwt_role: Literal["admin", "member", "read"] = "member"
    """The role if the claim is none of admin, member and read."""

    @property
    def algorithms(self) -> list[str]:
        """The algorithms with which an external token may be signed."""
        named = [name for name in re.split(r"[,\s]+", self.jwt_algorithms) if name]
        return named or ["HS256" if self.jwt_secret is not None else "RS256"]

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.jwt_issuer is None:
            return self
        if not self.jwt_audience:
            raise ValueError("JWT_ISSUER needs JWT_AUDIENCE: tokens for other services must not be accepted here")
        if (self.jwt_jwks_url is None) == (self.jwt_secret is None):
            raise ValueError("JWT_ISSUER needs either JWT_JWKS_URL or JWT_SECRET")
        symmetric = {name.startswith("HS") for name in self.algorithms}
        if symmetric != {self.jwt_secret is not None} or "none" in self.algorithms:
            raise ValueError("JWT_ALGORITHMS: HS… with JWT_SECRET only, all others with JWT_JWKS_URL only")
        return self


class LinkSettings(Environment):
    """Links to files that need no key."""

    link_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Signs links; the same at every gateway and at the exporter. Without it, there are no links."""


class PasswordSettings(Environment):
    """Passwords of documents."""

    ocr_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Seals passwords; the same at every gateway and OCR worker. Without it, no passwords are taken."""


class RetentionSettings(Environment):
    """How long ended jobs and their files are kept: until one of the two limits is reached."""

    retention_days: str = "30"
    """Days for all jobs, and fewer for those of a queue that have succeeded: `30, mailer=7`."""
    retention_max_bytes: Annotated[int, Field(gt=0)] = 100 * 1024**3
    """The total size of all uploads and artifacts. Beyond it, the jobs that ended first are removed."""

    @property
    def days_kept(self) -> tuple[float, Mapping[str, float]]:
        """RETENTION_DAYS: the days for all jobs, and those for succeeded jobs by queue."""
        return _parsed_days(self.retention_days)

    @field_validator("retention_days", mode="before")
    @classmethod
    def _days_can_be_read(cls, days: object) -> str:
        _parsed_days(str(days))
        return str(days)


class Settings(
    DatabaseSettings,
    BusSettings,
    BlobSettings,
    ProbeSettings,
    LimitSettings,
    TokenSettings,
    LinkSettings,
    PasswordSettings,
    RetentionSettings,
    ShutdownSettings,
    TelemetrySettings,
):
    """All settings of the gateway."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    gateway_max_upload_bytes: Annotated[int, Field(gt=0)] = 200 * 1024 * 1024
    gateway_max_mail_bytes: Annotated[int, Field(gt=0)] = 25 * 1024 * 1024
    """The maximum body of POST /v1/mail, with recipients and files. Base64 makes files a third larger."""
    gateway_large_bodies: Annotated[int, Field(ge=2)] = 8
    """The maximum of concurrent JSON bodies of more than 1 MB in this process, half of them of one tenant."""
    key_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Derives the keys that are made with an Idempotency-Key; the same at every gateway. Without it such a request
    makes one key too, but a repeated one is not shown it again."""
    gateway_max_keys: Annotated[int, Field(ge=1)] = KEYS_AT_MOST
    """The maximum of keys of one tenant that are neither revoked nor expired."""
    gateway_drain_s: Annotated[float, Field(ge=0)] = 2.0
    """Seconds after SIGTERM in which requests are still accepted, until load balancers send them elsewhere."""
    gateway_max_in_flight: Annotated[int, Field(ge=10)] = 4000
    """The maximum of concurrent requests in this process. Submits are refused at 60 %, status and cancel last."""
    gateway_keep_alive_s: Annotated[int, Field(ge=1)] = 75
    """Seconds that an idle connection is kept. Proxies keep theirs for 60 s, and must be the first to close."""
    trusted_proxies: str | None = None
    """Networks of the proxies whose X-Forwarded-… and Forwarded are trusted, such as `10.0.0.0/8`, or `none`."""
    public_url: PublicUrl | None = None
    """Where callers reach the gateway. It stands before every path they are told. None: see http/public_url.py."""
    cors_origins: str = ""
    """Origins whose pages may call the API, such as `https://app.example.com`."""

    @model_validator(mode="after")
    def _there_is_time_to_drain(self) -> Self:
        if self.gateway_drain_s + self.shutdown_grace_s + STOPPING_TAKES_S > self.termination_grace_s:
            raise ValueError(
                f"GATEWAY_DRAIN_S, SHUTDOWN_GRACE_S and the {STOPPING_TAKES_S:g} s that stopping takes are more "
                f"than TERMINATION_GRACE_S"
            )
        return self

    @property
    def origins(self) -> list[str]:
        """CORS_ORIGINS as a list."""
        return _listed(self.cors_origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: str | None) -> str | None:
        for network in _proxies(networks):
            ip_network(network)
        return networks

    @model_validator(mode="after")
    def _proxies_are_named(self) -> Self:
        if self.trusted_proxies is None and self.gateway_env != "dev":
            raise ValueError(
                "TRUSTED_PROXIES must be set unless GATEWAY_ENV is dev: the networks of the proxies in front, or "
                "`none`. Behind a proxy that is not named, all callers share the limits of one address"
            )
        return self

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in _listed(origins):
            if not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", origin):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.com")
        return origins

    @property
    def proxies(self) -> list[str]:
        """TRUSTED_PROXIES as a list."""
        return _proxies(self.trusted_proxies)


def _proxies(networks: str | None) -> list[str]:
    return [] if networks is None or networks == "none" else _listed(networks)


def _listed(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", text) if part]


def _parsed_limits(text: str) -> dict[str, str]:
    """`a=1/s, b=off` as a mapping. Raises ValueError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all("=" in part for part in parts):
        raise ValueError("write it like api=600/min, ocr=100/h")
    pairs = [part.split("=", 1) for part in parts]
    return {name.strip(): limit.strip() for name, limit in pairs}


def _parsed_days(text: str) -> tuple[float, dict[str, float]]:
    """`30, mailer=7` as (30, {"mailer": 7}). Raises ValueError."""
    first, *others = (part.strip() for part in text.split(","))
    pairs = [tuple(part.partition("=")[::2]) for part in others]
    try:
        days, by_queue = float(first), {queue.strip(): float(number) for queue, number in pairs}
    except ValueError:
        raise ValueError("write it like 30, or 30, mailer=7") from None
    if unknown := by_queue.keys() - set(QUEUES):
        raise ValueError(f"there is no queue {', '.join(sorted(unknown))}; there are {', '.join(QUEUES)}")
    if not 0 < days < inf or not all(0 < number <= days for number in by_queue.values()):
        raise ValueError("days must be more than 0, and those of a queue not more than those of all")
    return days, by_queue
