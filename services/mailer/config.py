"""Every setting of the mailer."""

import re
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from libs.common.config import PublicUrl, RedisSettings, WorkerSettings
from libs.common.sandbox.settings import SandboxSettings
from services.mailer.smtp.pacing import Rates, parse_rates


class Settings(WorkerSettings, RedisSettings, SandboxSettings):
    """What the mailer reads from the environment."""

    email_concurrency: Annotated[int, Field(ge=1, le=256)] = 5
    """Jobs that run at once in this process: letters, or parts of letters with many recipients."""
    mail_relays: SecretStr = SecretStr("smtp://127.0.0.1:25")
    """URLs of the relays, separated by spaces. The first one that can be reached is used.

    smtp://user:password@host:587 uses STARTTLS if the relay offers it. ?tls=required requires it, ?tls=off
    disables it. smtps:// uses TLS from the start.
    """
    mail_connections: Annotated[int, Field(ge=1, le=200)] = 30
    """Connections from this process to one relay."""
    mail_helo: (
        Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[A-Za-z0-9.:]+\])$", max_length=255)]
        | None
    ) = None
    """The mailer's name in EHLO: a full host name, or an address such as [192.0.2.1].

    None: the machine's full host name if it has one, else its address.
    """
    mail_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long a relay may take to reply to a command."""
    mail_limits: str = ""
    """Rate limits for all mailers together: `relay=100/s, tenant=20/s, domain=50/s, domain:example.com=5/s`."""
    mail_retry_s: Annotated[float, Field(gt=0)] = 60.0
    """Delay before the second try for a deferred recipient. It doubles with each try, up to an hour."""
    mail_give_up_after_s: Annotated[float, Field(gt=0)] = 4 * 86_400
    """After this time a recipient that is still deferred counts as bounced. RFC 5321, 4.5.4.1: 4 to 5 days."""
    mail_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Signs unsubscribe links and return paths. It must be the same for all mailers."""
    public_url: PublicUrl | None = None
    """Where recipients reach the gateway. None: letters have no links for unsubscribing."""
    mail_bounce_domain: str | None = None
    """Domain of the return paths, of which each recipient has its own. None: the sender is the return path."""
    mail_lmtp_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """LMTP port for bounces and complaints sent to MAIL_BOUNCE_DOMAIN. None: they are not received."""
    mail_lmtp_host: str = "127.0.0.1"
    mail_dkim_keys: str | None = None
    """Folder with private RSA or Ed25519 keys, as `<tenant>/<domain>/<selector>.pem`."""
    mail_compose_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    mail_compose_memory_mb: Annotated[int, Field(ge=128)] = 1024
    """Memory limit of the sandboxed process that renders templates."""

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self.email_concurrency

    @property
    def relay_urls(self) -> list[str]:
        """MAIL_RELAYS, split."""
        return [url for url in re.split(r"[\s,]+", self.mail_relays.get_secret_value()) if url]

    @property
    def rates(self) -> Rates:
        """MAIL_LIMITS, parsed. Raises ValueError."""
        return parse_rates(self.mail_limits)

    @model_validator(mode="after")
    def _return_paths_can_be_signed(self) -> Self:
        if (self.mail_bounce_domain or self.mail_lmtp_port is not None) and self.mail_secret is None:
            raise ValueError("MAIL_BOUNCE_DOMAIN and MAIL_LMTP_PORT need MAIL_SECRET, which signs return paths")
        return self

    @field_validator("mail_limits")
    @classmethod
    def _limits_are_valid(cls, limits: str) -> str:
        parse_rates(limits)
        return limits
