"""For how long a relay is left alone after a failure."""

import time
from typing import NamedTuple

from services.mailer.smtp.dialogue import Reply


class Patience(NamedTuple):
    """The first wait and the longest, in seconds. The wait doubles with each failure in a row."""

    first_s: float
    most_s: float


BRIEF = Patience(1.0, 30.0)
"""After a failure that may pass by itself (4xx, no connection): relays count rates over seconds to a minute."""
LONG = Patience(300.0, 3600.0)
"""After a refusal (5xx), which ends only when somebody changes a setting. Three logins in a quarter of an hour are
fewer than those after which accounts are commonly locked, which is 5."""


class Hold:
    """Whether something is held back, until when, and for which reply."""

    def __init__(self) -> None:
        self._until = 0.0
        self._failures = 0
        self._patience = BRIEF
        self.reply: Reply | None = None

    @property
    def left_s(self) -> float:
        """Seconds until it may be tried again. 0 or less: now."""
        return self._until - time.monotonic()

    @property
    def is_on(self) -> bool:
        """Whether it may not be tried yet."""
        return self.left_s > 0

    @property
    def is_on_trial(self) -> bool:
        """Whether it has failed, and was not seen to work since."""
        return self._failures > 0

    def begin(self, patience: Patience, reply: Reply) -> bool:
        """Hold it back after a failure. False if it was held back already: this one was under way then."""
        if self.is_on and patience <= self._patience:
            return False
        if patience != self._patience:
            self._failures, self._patience = 0, patience
        self._until = time.monotonic() + min(patience.most_s, patience.first_s * 2.0 ** min(self._failures, 20))
        self._failures += 1
        self.reply = reply
        return True

    def end(self) -> None:
        """It works."""
        self._until, self._failures = 0.0, 0
