"""Every setting of the exporter."""

from typing import Annotated

from pydantic import Field, SecretStr

from libs.common.config import WorkerSettings


class Settings(WorkerSettings):
    """What the exporter reads from the environment."""

    export_concurrency: Annotated[int, Field(ge=1, le=64)] = 3
    """Files that are written at once in this process. Each holds a connection to the database meanwhile."""
    export_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """Seconds that reading the rows of a file may take: for as long, the database keeps what it would clean up."""
    export_rows_per_s: Annotated[int, Field(ge=0)] = 0
    """Rows of a file read in a second, at most; 0: as many as there can be."""
    link_secret: Annotated[SecretStr, Field(min_length=32)]
    """Signs links to files; the same as the gateway's."""
    link_url: Annotated[str, Field(pattern="^https?://")] = "http://127.0.0.1:8080/v1/download"
    """Where the gateway serves links, as those who are sent one reach it."""

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self.export_concurrency
