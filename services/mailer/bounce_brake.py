"""When a letter stops because most of its recipients bounce.

Providers block a sender whose list is old: Amazon SES reviews an account at 5 % of bounces and stops it at 10 %.
One letter tells less than all mail of an account, so it takes more here, and a few recipients say nothing at all.
"""

from dataclasses import dataclass

LOOKED_AT_FROM = 50
SHARE_AT_MOST = 0.5


@dataclass(slots=True)
class BounceBrake:
    """Counts the recipients whose delivery has ended, and those of them that have bounced."""

    ended: int = 0
    bounced: int = 0

    def count(self, *, bounced: bool) -> None:
        """One more has ended."""
        self.ended += 1
        self.bounced += bounced

    @property
    def is_on(self) -> bool:
        """Whether the others should not be written to before somebody has looked at the list."""
        return self.ended >= LOOKED_AT_FROM and self.bounced > SHARE_AT_MOST * self.ended
