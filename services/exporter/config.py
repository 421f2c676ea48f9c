"""Every setting of the exporter."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from libs.common.config import PublicUrl, WorkerSettings


class Settings(WorkerSettings):
    """What the exporter reads from the environment."""

    export_concurrency: Annotated[int, Field(ge=1, le=64)] = 3
    """Files that are written at once in this process, and jobs that run. Each holds a connection meanwhile."""
    export_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """Seconds that reading all rows may take: for as long, the database keeps what it would clean up."""
    export_rows_per_s: Annotated[int, Field(ge=0)] = 0
    """Rows of an export read in a second, at most; 0: as many as there can be."""
    link_secret: Annotated[SecretStr, Field(min_length=32)]
    """Signs links to files; the same as the gateway's."""
    public_url: PublicUrl = "http://127.0.0.1:8080"
    """Where those who are sent a link reach the gateway."""

    @model_validator(mode="after")
    def _has_connections(self) -> Self:
        """Without one for each, jobs would wait for each other's."""
        needed = 2 * self.export_concurrency + 1
        if self.db_max_connections < needed:
            raise ValueError(f"DB_MAX_CONNECTIONS: with this EXPORT_CONCURRENCY, at least {needed} are needed.")
        return self

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self.export_concurrency
