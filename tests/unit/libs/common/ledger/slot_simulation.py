"""A queue, its slots and its dispatcher in simulated time. The decisions are those of the product."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.ledger.picking import PREEMPTED_AT_MOST, WINDOW_LARGEST, hand_out
from libs.common.ledger.sharing import LINGERS_S, Running, Standing

TICK_S = 0.25
"""A round of the dispatcher, and the time that a worker takes to give a job back."""


@dataclass(eq=False)
class SimulatedJob:
    """One job, and what became of it."""

    number: int
    tenant: str
    due_at: float
    duration_s: float
    ticketed_at: float | None = None
    started_at: float | None = None
    first_started_at: float | None = None
    ended_at: float | None = None
    asked: bool = False
    preempted: int = 0
    wasted_s: float = 0.0


@dataclass
class Simulation:
    """`run` goes on until every job has ended."""

    slots: int
    jobs: list[SimulatedJob]
    now: float = 0.0
    shared_until: float = -1.0
    conveyor: list[SimulatedJob] = field(default_factory=list)
    was_shared: bool = False
    last_tenant: str = ""

    def run(self) -> None:
        """Raises AssertionError at a tick that is not as promised."""
        at_most = sum(job.duration_s * (1 + PREEMPTED_AT_MOST) + 60 for job in self.jobs)
        latest = max(job.due_at for job in self.jobs)
        while any(job.ended_at is None for job in self.jobs):
            self.tick()
            assert self.now <= latest + at_most, "a job never ends"

    def tick(self) -> None:
        """One round: jobs end and give way, the dispatcher hands out tickets, free slots take them."""
        self.now += TICK_S
        self._end()
        if self.shared:
            self._hand_out()
        else:
            self._fill_window()
        self._take()
        free = self.slots - len(self.running)
        assert not (free and self.waiting), "a slot is idle while a job waits"
        self._balance()

    @property
    def shared(self) -> bool:
        return self.now < self.shared_until

    @property
    def running(self) -> list[SimulatedJob]:
        return [job for job in self.jobs if job.started_at is not None and job.ended_at is None]

    @property
    def waiting(self) -> list[SimulatedJob]:
        """In order of rank."""
        due = [job for job in self.jobs if job.due_at <= self.now and job.started_at is None]
        return [job for job in due if job.ended_at is None]

    def standing(self) -> Standing:
        """What the dispatcher sees."""
        running = [
            Running(
                UUID(int=job.number), 1, job.tenant, self.now - (job.started_at or 0), job.preempted, job.asked
            )
            for job in self.running
        ]
        waited_s = defaultdict[str, float](float)
        for job in self.waiting:
            since = job.due_at if job.ticketed_at is None else job.ticketed_at
            waited_s[job.tenant] = max(waited_s[job.tenant], self.now - since)
        return Standing(self.slots, None, running, dict(waited_s))

    def _end(self) -> None:
        for job in self.running:
            ran_s = self.now - (job.started_at or 0)
            if ran_s >= job.duration_s:
                job.ended_at = self.now
            elif job.asked:
                job.wasted_s += ran_s
                job.started_at, job.asked = None, False

    def _hand_out(self) -> None:
        held = Counter(job.tenant for job in [*self.running, *self.conveyor])
        settled = {job.tenant for job in self.running if job.preempted >= PREEMPTED_AT_MOST}
        holds = {name: number + self.slots * (name in settled) for name, number in held.items()}
        self._ticket(hand_out(holds, self._rooms(), self.slots - held.total()))

    def _fill_window(self) -> None:
        rooms = self._rooms()
        self._ticket(hand_out({}, rooms, max(2 * self.slots, 8) - len(self.conveyor)))

    def _rooms(self) -> dict[str, int]:
        """How many jobs each tenant has waiting, beginning after the tenant served last."""
        counts = Counter(job.tenant for job in self.waiting if job.ticketed_at is None)
        names = sorted(counts, key=lambda name: (name <= self.last_tenant, name))
        return {name: min(counts[name], WINDOW_LARGEST) for name in names}

    def _ticket(self, shares: dict[str, int]) -> None:
        for turn in range(max(shares.values(), default=0)):
            for name in [name for name, share in shares.items() if share > turn]:
                job = next(job for job in self.waiting if job.tenant == name and job.ticketed_at is None)
                job.ticketed_at, self.last_tenant = self.now, name
                self.conveyor.append(job)

    def _take(self) -> None:
        while self.conveyor and len(self.running) < self.slots:
            job = self.conveyor.pop(0)
            job.started_at, job.ticketed_at = self.now, None
            job.first_started_at = job.first_started_at if job.first_started_at is not None else self.now

    def _balance(self) -> None:
        seen = self.standing()
        if not self.shared:
            if seen.is_contended and seen.starving:
                self.shared_until, self.was_shared = self.now + LINGERS_S, True
                for job in self.conveyor:
                    job.ticketed_at = None
                self.conveyor.clear()
            return
        if seen.is_contended:
            self.shared_until = self.now + LINGERS_S
        for one in seen.give_way():
            (job,) = (job for job in self.running if job.number == one.id.int)
            job.asked, job.preempted = True, job.preempted + 1
