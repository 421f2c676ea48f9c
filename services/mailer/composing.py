"""Composes messages in the sandbox, so that a recipient for whom that fails costs the others nothing.

One process composes for many recipients. If it takes too long for one of them, needs too much memory or dies, that
one gets no letter, and another process goes on with the next. The time for a whole letter is limited too.
"""

import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.common.backoff import until_available
from libs.common.contracts.mail import StoredLetter
from libs.common.db import Database
from libs.common.sandbox.sandbox import Sandbox
from services.mailer import letters
from services.mailer.compose.content import Addressee, Composed, check, compose, needs_sandbox
from services.mailer.refusals import ComposingCrashed, ComposingTooLarge, ComposingTooSlow

TOGETHER_TIMES, TOGETHER_RECIPIENTS = 10, 500
"""The time limit of one recipient may be used so many times for so many recipients; then the rest is refused."""
CHARGED_FROM_S = 1.0
"""Less is not written down: most letters take milliseconds."""
ALL_TOO_SLOW = "the recipients of the letter took too long together"


@dataclass(slots=True)
class Composer:
    """Composes the messages of a letter. `timeout_s` and `memory_mb` are the limits of `sandbox`.

    `since`: the letter's last retry by hand, with which the time for all recipients begins anew.
    """

    sandbox: Sandbox
    timeout_s: float
    memory_mb: int
    database: Database
    letter_id: UUID
    since: datetime | None
    _uncharged_s: float = 0.0

    async def compose(
        self, stored: StoredLetter, addressees: Sequence[Addressee], date: str
    ) -> AsyncGenerator[list[Composed], None]:
        """Yield a message, or what the problem is, for each of `addressees`, in order and several at once.

        A process that dies is tried once more. Raises TemplateInvalid, LetterGone; and ComposingTooSlow,
        ComposingTooLarge and ComposingCrashed if they are not about one recipient.
        """
        if not needs_sandbox(stored):
            yield list(compose(stored, addressees, date))
            return
        rest, suspect, used_up = list(addressees), None, False
        while rest and not used_up:
            begun = time.monotonic()
            try:
                async with aclosing(self.sandbox.stream(compose, stored, rest, date)) as results:
                    async for composed in results:
                        rest = rest[len(composed) :]
                        used_up = await self._use_up(sum(one.cpu_s for one in composed))
                        yield composed
                        if used_up:
                            break
                        begun = time.monotonic()
            except (ComposingTooSlow, ComposingTooLarge, ComposingCrashed) as error:
                used_up = await self._use_up(min(time.monotonic() - begun, self.timeout_s))
                failed = rest[0]
                if failed is suspect or not isinstance(error, ComposingCrashed):
                    await self.sandbox.run(check, stored)  # if that fails too, the recipient is not to blame
                    rest = rest[1:]
                    yield [Composed(failed.number, problem=self._problem(error))]
                suspect = failed
        yield [Composed(one.number, problem=ALL_TOO_SLOW) for one in rest]

    def _problem(self, error: Exception) -> str:
        match error:
            case ComposingTooSlow():
                return f"took longer than {self.timeout_s:g} s"
            case ComposingTooLarge():
                return f"needs more than {self.memory_mb} MB of memory"
            case _:
                return "the process that composed it died"

    async def _use_up(self, seconds: float) -> bool:
        """Count `seconds` of the letter's time. Returns whether there is none left."""
        self._uncharged_s += seconds
        if self._uncharged_s < CHARGED_FROM_S:
            return False
        used_s, self._uncharged_s = self._uncharged_s, 0.0
        spent = await until_available(lambda: letters.charge(self.database, self.letter_id, self.since, used_s))
        shares = math.ceil(spent.recipients / TOGETHER_RECIPIENTS)
        return spent.seconds >= TOGETHER_TIMES * self.timeout_s * shares
