"""Every setting of the mailer."""

import re
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from libs.common.config import RedisSettings, WorkerSettings
from services.mailer.smtp.pacing import Rates, parse_rates


class Settings(WorkerSettings, RedisSettings):
    """What the mailer reads from the environment."""

    email_concurrency: Annotated[int, Field(ge=1, le=256)] = 5
    """Jobs at once in this process: letters, or parts of letters to many."""
    mail_relays: SecretStr = SecretStr("smtp://127.0.0.1:25")
    """The servers that mail is handed to, with spaces between; the first that can be reached is used.

    smtp://user:password@host:587 uses TLS where the server offers it; ?tls=required insists, ?tls=off does not.
    smtps:// speaks TLS from the start.
    """
    mail_connections: Annotated[int, Field(ge=1, le=200)] = 30
    """To one relay, from this process."""
    mail_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long a relay may take to answer a command."""
    mail_limits: str = ""
    """Bounds for all mailers together: `relay=100/s, tenant=20/s, domain=50/s, domain:example.com=5/s`."""
    mail_retry_s: Annotated[float, Field(gt=0)] = 60.0
    """Before the second try for a recipient that was put off; doubles up to an hour."""
    mail_give_up_after_s: Annotated[float, Field(gt=0)] = 4 * 86_400
    """Then a recipient that is still put off has bounced. RFC 5321, 4.5.4.1: four to five days."""
    mail_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Signs what comes back: unsubscribe links and return paths; the same at every mailer."""
    mail_unsubscribe_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    """Where the gateway's /v1/unsubscribe can be reached from outside."""
    mail_bounce_domain: str | None = None
    """Return paths are under this domain, a different one for each recipient; None: the sender's own address."""
    mail_lmtp_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Where what comes back to MAIL_BOUNCE_DOMAIN is taken in, over LMTP; None: nowhere."""
    mail_lmtp_host: str = "127.0.0.1"
    mail_dkim_keys: str | None = None
    """A folder with private keys as `<tenant>/<domain>/<selector>.pem`; RSA or Ed25519."""
    mail_compose_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    mail_compose_memory_mb: Annotated[int, Field(ge=128)] = 1024
    """What the process may use that fills in the templates of one part of a letter."""

    @property
    def slots(self) -> int:
        """Jobs at once."""
        return self.email_concurrency

    @property
    def relay_urls(self) -> list[str]:
        """One for each relay."""
        return [url for url in re.split(r"[\s,]+", self.mail_relays.get_secret_value()) if url]

    @property
    def rates(self) -> Rates:
        """The bounds."""
        return parse_rates(self.mail_limits)

    @model_validator(mode="after")
    def _comes_back_to_somebody(self) -> Self:
        if (self.mail_bounce_domain or self.mail_lmtp_port is not None) and self.mail_secret is None:
            raise ValueError("MAIL_BOUNCE_DOMAIN and MAIL_LMTP_PORT need MAIL_SECRET, which signs return paths")
        return self

    @field_validator("mail_limits")
    @classmethod
    def _can_be_read(cls, limits: str) -> str:
        parse_rates(limits)
        return limits
