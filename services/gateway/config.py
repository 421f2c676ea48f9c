"""Every setting of the gateway."""

from typing import Annotated

from pydantic import Field, SecretStr

from libs.common.config import (
    BlobSettings,
    BusSettings,
    DatabaseSettings,
    Environment,
    ProbeSettings,
    ShutdownSettings,
)


class RedisSettings(Environment):
    """The Redis of the limits: REDIS_URL, or its parts."""

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


class RetentionSettings(Environment):
    """How long ended jobs and their files are kept; whichever of the two is reached first."""

    retention_days: Annotated[float, Field(gt=0)] = 30.0
    retention_max_bytes: Annotated[int, Field(gt=0)] = 100 * 1024**3
    """Of all uploads and artifacts together. Beyond it the jobs that ended first go."""


class Settings(
    DatabaseSettings, BusSettings, BlobSettings, ProbeSettings, RedisSettings, RetentionSettings, ShutdownSettings
):
    """What the gateway reads from the environment."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    gateway_env: Annotated[str, Field(pattern="^[a-z0-9]+$")] = "dev"
    """The environment that API keys must name: a staging key opens nothing in production."""
    gateway_max_upload_bytes: Annotated[int, Field(gt=0)] = 200 * 1024 * 1024
    ocr_limit_per_hour: Annotated[int, Field(gt=0)] = 50
    """Documents per hour and user."""
