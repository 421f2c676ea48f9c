"""What must be when all jobs with events have ended: all that was accepted is accounted for, and counts once."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from services.analytics import sketches
from tests.analysing import NOW, Event, Expected, brute_force
from tests.chaos.event_requests import DIMENSION, LATE_DAYS, NAMES, VALUE, Request
from tests.chaos.fleet import TENANTS, Fleet

# The worker forgets the events of a job that it has counted. Committed with the job, so true whoever dies.
_STORED = """
CREATE TABLE stored (job uuid NOT NULL, request int NOT NULL, events int NOT NULL);
CREATE FUNCTION store() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO public.stored
  SELECT NEW.id, coalesce(event ->> 'request', event #>> '{}')::int, count(*)
  FROM jsonb_array_elements(NEW.payload -> 'events') event GROUP BY 1, 2;
  RETURN NULL;
END $$;
CREATE TRIGGER store AFTER INSERT ON ledger.jobs FOR EACH ROW WHEN (NEW.kind = 'events') EXECUTE FUNCTION store();
"""


@dataclass(slots=True)
class Answers:
    """What the callers know. `accepted`: how often a request was answered 202 with this job."""

    accepted: Counter[tuple[int, UUID]] = field(default_factory=Counter)
    unanswered: Counter[int] = field(default_factory=Counter)
    """Tries of a request without a 202: it may have been stored or not."""


@dataclass(slots=True)
class Account:
    """Events by what became of them, each as often as it was stored.

    `unanswered`: stored, but no caller knows. `distinct`: good ones. `again`: attempts that did not end their job.
    `wrong` says what is not as it must be.
    """

    sent: int
    accepted: int
    unanswered: int
    distinct: int
    counted: int = 0
    duplicates: int = 0
    rejected: int = 0
    lost: int = 0
    failed: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def twice(self) -> int:
        """Counts too many."""
        return max(0, self.counted - self.distinct)

    @property
    def good(self) -> bool:
        """Whether the promises held."""
        return not (self.lost or self.twice or self.failed or self.wrong)

    def expect(self, wanted: Any, what: str, found: Any) -> None:
        """Note it if they differ."""
        if found != wanted:
            self.wrong.append(f"{what}: {found} instead of {wanted}"[:300])


async def watch(fleet: Fleet) -> None:
    """Note from now on which requests are stored, and in which jobs."""
    async with fleet.connected() as connection:
        await connection.execute(_STORED)


async def told(fleet: Fleet, method: str, path: str, document: Any, tenant: str) -> Any:
    """What a gateway answers, sooner or later."""
    while True:
        answer = await fleet.request(method, path, document, tenant=tenant)
        if answer is not None and answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            return answer.json()
        await asyncio.sleep(0.1)


async def account(fleet: Fleet, sent: Sequence[Request], answers: Answers) -> Account:
    """Compare everything with brute force. All jobs have ended."""
    jobs = defaultdict[UUID, Counter[int]](Counter)
    async with fleet.connected() as connection:
        for job, request, events in await connection.fetch("SELECT job, request, events FROM stored"):
            jobs[job][request] = events
    times = _times_stored(sent, jobs)
    known = Counter[int]()
    for (number, _), often in answers.accepted.items():
        known[number] += often
    made = Account(
        sent=sum(len(request.events) for request in sent),
        accepted=sum(len(request.events) * known[request.number] for request in sent),
        unanswered=sum(len(request.events) * (times[request.number] - known[request.number]) for request in sent),
        distinct=sum(len(_distinct(sent, tenant)) for tenant in TENANTS),
    )
    _compare_stored(made, sent, jobs, answers, times, known)
    await _compare_results(made, fleet, sent, jobs, times)
    for tenant in TENANTS:
        events = _distinct(sent, tenant)
        expected = brute_force(events.values(), [DIMENSION], VALUE)
        await _compare_events(made, fleet, tenant, events)
        await _compare_tables(made, fleet, tenant, expected)
        await _compare_answers(made, fleet, tenant, expected)
    return made


def _distinct(sent: Sequence[Request], tenant: str) -> dict[tuple[str, date], Event]:
    good = (event for request in sent if request.tenant == tenant for event in request.good)
    return {(event["id"], datetime.fromisoformat(event["time"]).date()): event for event in good}


def _times_stored(sent: Sequence[Request], jobs: Mapping[UUID, Counter[int]]) -> Counter[int]:
    """How often each request is stored."""
    events = Counter[int]()
    for requests in jobs.values():
        events.update(requests)
    return Counter({request.number: events[request.number] // len(request.events) for request in sent})


def _compare_stored(
    made: Account,
    sent: Sequence[Request],
    jobs: Mapping[UUID, Counter[int]],
    answers: Answers,
    times: Counter[int],
    known: Counter[int],
) -> None:
    sizes = [len(request.events) for request in sent]
    for job, requests in jobs.items():
        made.expect({}, f"requests stored in part in {job}", {n: e for n, e in requests.items() if e % sizes[n]})
    for (number, job), often in answers.accepted.items():
        made.lost += max(0, often * sizes[number] - jobs.get(job, Counter())[number])
    for request in sent:
        surplus = times[request.number] - known[request.number]
        if not 0 <= surplus <= answers.unanswered[request.number]:
            made.wrong.append(f"request {request.number} is stored {surplus} times more than it was accepted")
    made.expect(len(sent), "requests accepted", len(known))


async def _compare_results(
    made: Account,
    fleet: Fleet,
    sent: Sequence[Request],
    jobs: Mapping[UUID, Counter[int]],
    times: Counter[int],
) -> None:
    async with fleet.connected() as connection:
        rows = await connection.fetch("SELECT id, state, result::text FROM ledger.jobs WHERE kind = 'events'")
        tallied = await connection.fetchrow("SELECT sum(events)::int, sum(rejected)::int FROM analytics.tallies")
    reasons, ledger = Counter[str](), await fleet.account()
    made.again, made.failed = ledger["more_attempts"], ledger["not_succeeded"]
    for job, state, text in rows:
        if state != "succeeded":
            continue
        result = orjson.loads(text)
        numbers = [result[name] for name in ("counted", "duplicates", "rejected")]
        made.expect(jobs[job].total(), f"events of {job}", sum(numbers))
        made.counted, made.duplicates = made.counted + numbers[0], made.duplicates + numbers[1]
        made.rejected += numbers[2]
        reasons.update(result["reasons"])
    bad = Counter[str]()
    for request in sent:
        bad.update({reason: number * times[request.number] for reason, number in request.bad.items()})
    total = made.counted + made.duplicates + made.rejected
    made.expect({*jobs}, "jobs", {row[0] for row in rows})
    made.expect(made.accepted + made.unanswered, "counted + duplicates + rejected", total)
    made.expect(made.distinct, "counted", made.counted)
    made.expect(dict(bad), "rejected", dict(reasons))
    made.expect((total, made.rejected), "events and rejected by analytics.tallies", tuple(tallied))
    made.expect((0, 0), "unaccounted and misbooked jobs", (ledger["unaccounted"], ledger["misbooked"]))


async def _compare_events(
    made: Account, fleet: Fleet, tenant: str, events: Mapping[tuple[str, date], Event]
) -> None:
    async with fleet.connected() as connection:
        rows = await connection.fetch(
            "SELECT id, day, name, at, subject, properties::text FROM analytics.events WHERE tenant = $1", tenant
        )
    kept = {(row[0], row[1]): (row[2], row[3], row[4], orjson.loads(row[5])) for row in rows}
    wanted = {
        key: (one["name"], datetime.fromisoformat(one["time"]), one["subject"], one["properties"])
        for key, one in events.items()
    }
    made.lost += len(wanted.keys() - kept.keys())
    made.expect(len(wanted), f"rows of {tenant}", len(rows))
    made.expect([], f"other events of {tenant}", [key for key in kept if kept[key] != wanted.get(key)][:5])


async def _compare_tables(made: Account, fleet: Fleet, tenant: str, expected: Expected) -> None:
    async with fleet.connected() as connection:
        rollups = await connection.fetch(
            "SELECT name, dim, hour, value, count, sum FROM analytics.rollups WHERE tenant = $1", tenant
        )
        uniques = await connection.fetch(
            "SELECT name, day, sketch FROM analytics.uniques WHERE tenant = $1", tenant
        )
    counted = {tuple(row[:4]): (row[4], float(row[5])) for row in rollups}
    estimated = {(row[0], row[1]): sketches.estimate([row[2]]) for row in uniques}
    for what, wanted, found in (
        ("rollups", expected.rollups, counted),
        ("sketches", expected.estimates, estimated),
    ):
        made.expect({}, f"{what} missing or wrong of {tenant}", dict(wanted.items() - found.items()))
        made.expect({}, f"{what} too many of {tenant}", dict(found.items() - wanted.items()))


async def _compare_answers(made: Account, fleet: Fleet, tenant: str, expected: Expected) -> None:
    """A breakdown, as everybody asks for it."""
    today = NOW.astimezone(UTC).date()
    for name in NAMES:
        query = {
            "event": name,
            "by": "total",
            "breakdown": DIMENSION,
            "from": f"{today - timedelta(days=2 * LATE_DAYS)}",
            "to": f"{today + timedelta(days=1)}",
        }
        answer = await told(fleet, "POST", "/v1/analytics/query", query, tenant)
        wanted = Counter[str]()
        for (of, dim, _, value), (count, _) in expected.rollups.items():
            if (of, dim) == (name, DIMENSION):
                wanted[value] += count
        found = {series["value"]: series["points"][0][1] for series in answer["series"]}
        made.expect((dict(wanted), 0), f"{name} of {tenant} by {DIMENSION}", (found, answer["other"]))
