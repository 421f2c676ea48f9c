"""What this gateway has admitted, and what is left of its share while Redis is away.

While Redis is away, the running gateways divide the rest of each limit among them. They know the rest exactly:
every admission was made by some gateway, each gateway remembers its own, and at the start of an outage they report
them to each other. So for one subject, with everything in one window:

    admitted before + gateways x (limit - admitted before) / gateways  <=  limit
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from services.gateway.limits.policies import Charge, Policy

SUBJECTS_AT_MOST = 50_000
"""Beyond this many, the least recently used are forgotten."""
UNKNOWN_RETRY_US = 1_000_000
KEPT_LONGER_US = 1_000_000
"""An admission is kept this much longer than it counts, because Redis's time is known only between two bounds."""

Report = dict[str, list[tuple[int, int]]]
"""What a gateway has admitted: for each counter, pairs of time in µs and amount."""


@dataclass(slots=True)
class Admission:
    """`amount` requests admitted at `time_us`; Redis logs them as `prefix:first`, `prefix:first+1` and so on."""

    time_us: int
    amount: int
    prefix: str
    first: int = 0
    in_redis: bool = False


@dataclass(slots=True)
class Subject:
    """One counter: admissions from before the outage, and since Redis no longer decides alone."""

    policy: Policy
    before: deque[Admission] = field(default_factory=deque)
    since: deque[Admission] = field(default_factory=deque)
    used: int = 0
    used_at_us: int = 0

    def drop_old(self, now_us: int) -> None:
        """Forget admissions that stopped counting at least KEPT_LONGER_US ago."""
        oldest = now_us - self.policy.counts_for_us - KEPT_LONGER_US
        for admissions in (self.before, self.since):
            while admissions and admissions[0].time_us <= oldest:
                admissions.popleft()


class Memory:
    """The admissions of this gateway, by counter."""

    def __init__(self) -> None:
        self._subjects: OrderedDict[str, Subject] = OrderedDict()
        self._reports: dict[str, Report] = {}
        self.alone = False
        """Whether this gateway's share limits admissions."""
        self.has_unreported = False
        """Whether there are admissions that Redis may not know."""
        self.unheard: set[str] = set()
        """Gateways that have not reported their admissions yet."""

    def add(self, charge: Charge, admission: Admission) -> None:
        """Remember an admission."""
        subject = self._subject(charge)
        subject.drop_old(admission.time_us)
        self.has_unreported = self.has_unreported or not admission.in_redis
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
        """Undo the last `amount` of the admissions just added under `prefix`: they were refused after all."""
        subject = self._subject(charge)
        for admission in chain(reversed(subject.since), reversed(subject.before)):
            if amount <= 0:
                return
            if charge.policy.bucket_us or admission.prefix == prefix:
                taken = min(amount, admission.amount)
                admission.amount -= taken
                amount -= taken

    def note_remaining(self, charge: Charge, remaining: int, now_us: int) -> None:
        """Remember what Redis said remains of a limit."""
        subject = self._subject(charge)
        subject.used, subject.used_at_us = charge.policy.limit - remaining, now_us

    def released(self, key: str, prefix: str, number: int) -> None:
        """Forget the admission of a slot that has been released."""
        subject = self._subjects.get(key)
        if subject is None:
            return
        for admissions in (subject.before, subject.since):
            for admission in admissions:
                if admission.prefix == prefix and admission.first == number:
                    admissions.remove(admission)
                    return

    def receive(self, gateway: str, report: Report, *, complete: bool) -> None:
        """Add a report of another gateway, or a part of one; `complete` if it was the last part."""
        self._reports[gateway] = {**self._reports.get(gateway, {}), **report}
        if complete:
            self.unheard.discard(gateway)

    def report(self, now_us: int) -> Report:
        """This gateway's own admissions, for the other gateways."""
        report: Report = {}
        for key, subject in self._subjects.items():
            subject.drop_old(now_us)
            if subject.before or subject.since:
                report[key] = [(a.time_us, a.amount) for a in chain(subject.before, subject.since)]
        return report

    def begin_alone(self, peers: Iterable[str]) -> None:
        """Limit admissions by this gateway's share from now on. `peers` have yet to report."""
        self.alone = True
        self.unheard = set(peers)
        self._reports.clear()

    def end_alone(self) -> None:
        """Let Redis decide alone again: it knows every admission."""
        self.alone = False
        self.unheard.clear()
        self._reports.clear()
        for subject in self._subjects.values():
            subject.before.extend(subject.since)
            subject.since.clear()

    def unreported(self, now_us: int, *, wiped: bool) -> Iterator[tuple[str, Policy, list[Admission]]]:
        """Admissions that Redis must be given: those it did not decide or, if it was `wiped`, all."""
        self.has_unreported = False
        for key, subject in self._subjects.items():
            subject.drop_old(now_us)
            everything = chain(subject.before, subject.since)
            admissions = [a for a in everything if a.amount and (wiped or not a.in_redis)]
            if admissions:
                yield key, subject.policy, admissions

    def share(self, charge: Charge, now_us: int, gateways: int) -> tuple[int, int]:
        """What is left of this gateway's share, and µs until there is one (more)."""
        policy = charge.policy
        if policy.strict and self.unheard:
            return 0, UNKNOWN_RETRY_US
        subject = self._subject(charge)
        subject.drop_old(now_us)
        oldest = now_us - policy.counts_for_us
        before = [(a.time_us, a.amount) for a in subject.before if a.time_us > oldest]
        before += self._reported(charge, oldest)
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
        own = sum(amount for time_us, amount in since if time_us > oldest)
        return max(0, subject.policy.limit - known) // gateways - own

    def _reported(self, charge: Charge, oldest: int) -> list[tuple[int, int]]:
        reported = chain.from_iterable(report.get(charge.key, ()) for report in self._reports.values())
        return [(time_us, amount) for time_us, amount in reported if time_us > oldest]

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
