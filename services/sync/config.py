"""Every setting of the sync worker."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from libs.common.config import WorkerSettings
from libs.common.sandbox.settings import SandboxSettings


class Settings(WorkerSettings, SandboxSettings):
    """What the sync worker reads from the environment."""

    sync_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    """Jobs that run at once in this process. A run gives its slot up every 20 s, so that tenants take turns."""
    sync_secret: Annotated[SecretStr, Field(min_length=32)]
    """The key with which the headers of sources are encrypted. It must stay the same, at all workers."""
    sync_contact_url: Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=500)] | None = None
    """A page for webmasters who ask who is calling; it is in the User-Agent."""
    sync_allowed_networks: str = ""
    """Networks that may be called although they are not of the public internet, separated by commas."""
    sync_host_gap_s: Annotated[float, Field(ge=0, le=3_600)] = 1.0
    """Seconds between two requests to a host, of all workers together."""
    sync_fetch_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long a source may take for one answer."""
    sync_read_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long the sandboxed process may take to read one answer."""
    sync_memory_mb: Annotated[int, Field(ge=128)] = 512
    """Memory limit of the sandboxed process that reads one answer."""

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self.sync_concurrency

    @property
    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """SYNC_ALLOWED_NETWORKS, parsed. Raises ValueError."""
        return parse_networks(self.sync_allowed_networks)

    @field_validator("sync_allowed_networks")
    @classmethod
    def _networks_can_be_read(cls, networks: str) -> str:
        parse_networks(networks)
        return networks


def parse_networks(networks: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks such as `10.1.0.0/16, fd00::/8`. Raises ValueError."""
    return tuple(ip_network(one.strip()) for one in networks.split(",") if one.strip())
