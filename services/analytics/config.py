"""Every setting of the analytics worker."""

from typing import Annotated

from pydantic import Field, SecretStr

from libs.common.config import WorkerSettings


class Settings(WorkerSettings):
    """What the analytics worker reads from the environment."""

    analytics_concurrency: Annotated[int, Field(ge=1, le=256)] = 2
    """Jobs that run at once in this process."""
    analytics_retention_days: Annotated[int, Field(ge=1, le=3650)] = 400
    """How long events are kept; they are dropped by the month. What has been counted stays."""
    analytics_secret: Annotated[SecretStr, Field(min_length=32)]
    """The key of the hashes by which erased subjects are recognised. It must stay the same, at all workers."""

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self.analytics_concurrency
