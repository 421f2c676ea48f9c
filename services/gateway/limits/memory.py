"""What this gateway has admitted, and what that leaves of its share while Redis is away.

With Redis away, what is left of a limit is shared out among the gateways that live. What is left is known
exactly: every admission was made by some gateway, each remembers its own, and at the start of an outage they tell
each other. So for one subject, with everything in one window:

    admitted before + gateways x (limit - admitted before) / gateways  <=  limit
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from services.gateway.limits.policies import Charge, Policy

SUBJECTS_AT_MOST = 50_000
"""Of those remembered, the ones that came longest ago are forgotten first."""
UNKNOWN_RETRY_US = 1_000_000
KEPT_LONGER_US = 1_000_000
"""Than it counts: what time it is at Redis is known between two bounds only."""

Told = dict[str, list[tuple[int, int]]]
"""What a gateway tells of itself: for each counter, (time in µs, amount) of what it has admitted."""


@dataclass(slots=True)
class Admission:
    """`amount` requests admitted at `time_us`, which Redis logs as `prefix:first` and the numbers that follow."""

    time_us: int
    amount: int
    prefix: str
    first: int = 0
    in_redis: bool = False


@dataclass(slots=True)
class Subject:
    """One counter: what was admitted while Redis decided, and since it does not decide alone."""

    policy: Policy
    before: deque[Admission] = field(default_factory=deque)
    since: deque[Admission] = field(default_factory=deque)
    used: int = 0
    used_at_us: int = 0

    def drop_old(self, now_us: int) -> None:
        """Forget what has not counted for a while."""
        oldest = now_us - self.policy.counts_for_us - KEPT_LONGER_US
        for admissions in (self.before, self.since):
            while admissions and admissions[0].time_us <= oldest:
                admissions.popleft()


class Memory:
    """The admissions of this gateway, by counter."""

    def __init__(self) -> None:
        self._subjects: OrderedDict[str, Subject] = OrderedDict()
        self._heard: dict[str, Told] = {}
        self.alone = False
        """Whether admissions go by this gateway's share."""
        self.has_untold = False
        """Whether Redis may not know of all that was admitted."""
        self.unheard: set[str] = set()
        """Gateways that may have admitted what this one does not know of."""

    def admitted(self, charge: Charge, admission: Admission) -> None:
        """Remember an admission."""
        subject = self._subject(charge)
        subject.drop_old(admission.time_us)
        self.has_untold = self.has_untold or not admission.in_redis
        admissions = subject.since if self.alone else subject.before
        width_us = charge.policy.bucket_us
        if width_us:
            admission.time_us -= admission.time_us % width_us
            last = admissions[-1] if admissions else None
            if last and (last.time_us, last.in_redis) == (admission.time_us, admission.in_redis):
                last.amount += admission.amount
                return
        admissions.append(admission)

    def take_back(self, charge: Charge, prefix: str, amount: int) -> None:
        """Of what was admitted a moment ago under the name `prefix`, the last `amount` were not after all."""
        subject = self._subject(charge)
        for admission in chain(reversed(subject.since), reversed(subject.before)):
            if amount <= 0:
                return
            if charge.policy.bucket_us or admission.prefix == prefix:
                taken = min(amount, admission.amount)
                admission.amount -= taken
                amount -= taken

    def saw(self, charge: Charge, remaining: int, now_us: int) -> None:
        """Redis has said what remains."""
        subject = self._subject(charge)
        subject.used, subject.used_at_us = charge.policy.limit - remaining, now_us

    def gave_back(self, key: str, prefix: str, number: int) -> None:
        """A place of a policy that bounds what runs at once is free again."""
        subject = self._subjects.get(key)
        if subject is None:
            return
        for admissions in (subject.before, subject.since):
            for admission in admissions:
                if admission.prefix == prefix and admission.first == number:
                    admissions.remove(admission)
                    return

    def hear(self, gateway: str, told: Told, *, complete: bool) -> None:
        """Another gateway tells what it admitted, in one message or several; `complete`: these were all."""
        self._heard[gateway] = {**self._heard.get(gateway, {}), **told}
        if complete:
            self.unheard.discard(gateway)

    def tell(self, now_us: int) -> Told:
        """What this gateway has admitted."""
        told: Told = {}
        for key, subject in self._subjects.items():
            subject.drop_old(now_us)
            if subject.before or subject.since:
                told[key] = [(a.time_us, a.amount) for a in chain(subject.before, subject.since)]
        return told

    def begin_alone(self, peers: Iterable[str]) -> None:
        """From now on admissions go by this gateway's share."""
        self.alone = True
        self.unheard = set(peers)
        self._heard.clear()

    def end_alone(self) -> None:
        """Redis decides again, and knows all."""
        self.alone = False
        self.unheard.clear()
        self._heard.clear()
        for subject in self._subjects.values():
            subject.before.extend(subject.since)
            subject.since.clear()

    def untold(self, now_us: int, *, wiped: bool) -> Iterator[tuple[str, Policy, list[Admission]]]:
        """What Redis has to be told: what it did not decide; if it was `wiped`, everything."""
        self.has_untold = False
        for key, subject in self._subjects.items():
            subject.drop_old(now_us)
            everything = chain(subject.before, subject.since)
            admissions = [a for a in everything if a.amount and (wiped or not a.in_redis)]
            if admissions:
                yield key, subject.policy, admissions

    def share(self, charge: Charge, now_us: int, gateways: int) -> tuple[int, int]:
        """Of this gateway's share: places left, and µs until there is one (more)."""
        policy = charge.policy
        if policy.strict and self.unheard:
            return 0, UNKNOWN_RETRY_US
        subject = self._subject(charge)
        subject.drop_old(now_us)
        oldest = now_us - policy.counts_for_us
        before = [(a.time_us, a.amount) for a in subject.before if a.time_us > oldest]
        before += self._told_of(charge, oldest)
        since = [(a.time_us, a.amount) for a in subject.since if a.time_us > oldest]
        left = self._left(subject, before, since, now_us, gateways)
        ends = sorted({time_us + policy.counts_for_us for time_us, _ in before + since})
        if left > 0:
            return left, (ends[0] - now_us if ends else 0)
        for end_us in ends:
            if self._left(subject, before, since, end_us, gateways) > 0:
                return 0, end_us - now_us
        return 0, policy.counts_for_us

    def _left(
        self,
        subject: Subject,
        before: list[tuple[int, int]],
        since: list[tuple[int, int]],
        now_us: int,
        gateways: int,
    ) -> int:
        oldest = now_us - subject.policy.counts_for_us
        known = sum(amount for time_us, amount in before if time_us > oldest)
        if self.unheard and subject.used_at_us > oldest:
            known = max(known, subject.used)
        mine = sum(amount for time_us, amount in since if time_us > oldest)
        return max(0, subject.policy.limit - known) // gateways - mine

    def _told_of(self, charge: Charge, oldest: int) -> list[tuple[int, int]]:
        heard = chain.from_iterable(told.get(charge.key, ()) for told in self._heard.values())
        return [(time_us, amount) for time_us, amount in heard if time_us > oldest]

    def _subject(self, charge: Charge) -> Subject:
        subject = self._subjects.get(charge.key)
        if subject is None:
            subject = self._subjects[charge.key] = Subject(charge.policy)
            if len(self._subjects) > SUBJECTS_AT_MOST:
                self._subjects.popitem(last=False)
        else:
            self._subjects.move_to_end(charge.key)
            subject.policy = charge.policy
        return subject
