"""Each event counts exactly once, whatever is repeated, reordered, overlapping or done at the same time."""

import asyncio
import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from services.analytics import counting, incoming
from services.analytics.counting import SubjectHashes
from services.analytics.incoming import Event, Refused
from tests.analysing import NOW, SECRET, Analyst, brute_force, event, generated, overlapping

SEEDS = int(os.environ.get("SEEDS", "20"))
DIMENSIONS, VALUE = ("page",), "amount"


async def test_batches_that_overlap_count_as_brute_force_does(analyst: Analyst) -> None:
    for seed in range(SEEDS):
        chance = random.Random(seed)  # noqa: S311 - a test's
        tenant = f"t{seed}"
        for name in ("view", "click"):
            await analyst.type(name, tenant, dimensions=list(DIMENSIONS), value=VALUE)
        events = generated(chance, 120)
        batches = overlapping(chance, events, 6)
        jobs = [await analyst.send(batch, tenant=tenant) for batch in batches]
        await analyst.work(workers=chance.randrange(2, 5))
        results = [(await analyst.facts(job))["result"] for job in jobs]
        assert sum(result["counted"] for result in results) == len(events)
        assert sum(result["counted"] + result["duplicates"] for result in results) == sum(map(len, batches))
        expected = brute_force(events, DIMENSIONS, VALUE)
        found = await analyst.rollups(tenant)
        assert {key: (count, round(total, 6)) for key, (count, total) in found.items()} == expected.rollups
        assert await analyst.estimates(tenant) == expected.estimates


async def test_first_writers_of_a_day_do_not_overwrite_one_another(analyst: Analyst) -> None:
    batches = [[event(f"e{n}:{m}", subject=f"u{n}:{m}") for m in range(100)] for n in range(8)]
    for batch in batches:
        await analyst.send(batch)
    await analyst.work(workers=4)
    everything = [one for batch in batches for one in batch]
    assert await analyst.estimates() == brute_force(everything).estimates


async def test_late_events_in_any_order_give_the_same(analyst: Analyst) -> None:
    chance = random.Random(1)  # noqa: S311 - a test's
    events = generated(chance, 300, days=60)
    in_order = sorted(events, key=lambda one: one["time"])
    shuffled = chance.sample(events, len(events))
    for tenant, sent in (("ordered", in_order), ("shuffled", shuffled)):
        for begin in range(0, len(sent), 50):
            await analyst.count(sent[begin : begin + 50], tenant=tenant)
    assert await analyst.rollups("ordered") == await analyst.rollups("shuffled") == brute_force(events).rollups
    assert await analyst.estimates("ordered") == await analyst.estimates("shuffled")


async def test_what_became_of_each_event_is_told(analyst: Analyst) -> None:
    await analyst.count([event("a", amount=1)])
    sent: list[Any] = [
        event("a", amount=1),  # a duplicate
        event("a", amount=2),  # and a conflict
        event("b", at=NOW - timedelta(hours=5)),  # late
        event("c") | {"properties": {"x": 1, "y": 2}},
        event("c") | {"properties": {"y": 2, "x": 1}},  # the same in another order
        event("c", "click"),  # a conflict within the batch
        event("d", "No"),
        "nothing",
    ]
    result = await analyst.count(sent)
    reasons = result.pop("reasons")
    assert result == {"counted": 2, "duplicates": 4, "rejected": 2, "conflicts": 2, "late": 1}
    assert reasons == {"bad_name": 1, "not_an_object": 1}
    assert result["counted"] + result["duplicates"] + result["rejected"] == len(sent)


async def test_the_first_of_two_with_one_id_counts(analyst: Analyst) -> None:
    await analyst.type("view", value="amount")
    await analyst.count([event("a", amount=1)])
    await analyst.count([event("a", amount=50)])
    assert [total for _, total in (await analyst.rollups()).values()] == [1]


async def test_the_same_id_on_another_day_is_another_event(analyst: Analyst) -> None:
    result = await analyst.count([event("a"), event("a", at=NOW - timedelta(days=1))])
    assert (result["counted"], result["duplicates"]) == (2, 0)


async def test_one_bad_event_costs_no_other(analyst: Analyst) -> None:
    result = await analyst.count([event(f"e{n}") for n in range(999)] + [event("bad") | {"time": "never"}])
    assert (result["counted"], result["rejected"]) == (999, 1)


async def test_a_job_of_which_nothing_counts_succeeds_and_says_so(analyst: Analyst) -> None:
    result = await analyst.count([{"id": n} for n in range(10)])
    assert (result["counted"], result["rejected"], result["reasons"]) == (0, 10, {"no_id": 10})


async def test_what_is_older_than_the_partitions_is_too_old(analyst: Analyst) -> None:
    result = await analyst.count(
        [event("old", at=NOW - timedelta(days=500)), event("ancient", at=datetime(1970, 1, 1, tzinfo=UTC))]
    )
    assert result["reasons"] == {"too_old": 2}


async def test_events_that_do_not_fit_their_type_are_rejected(analyst: Analyst) -> None:
    await analyst.type("view", schema={"required": ["page"]})
    result = await analyst.count([event("a"), event("b", page="/")])
    assert (result["counted"], result["reasons"]) == (1, {"schema_violated": 1})


async def test_a_type_that_changes_after_the_check_is_heeded(analyst: Analyst) -> None:
    read: list[Event | Refused] = [incoming.read(event("a"), NOW)]
    checked = counting.check(read, {})
    assert len(checked.events) == 1
    await analyst.type("view", schema={"required": ["page"]})
    async with analyst.database.begin(tenant="acme") as connection:
        outcome = await counting.count(connection, "acme", read, checked, NOW, analyst.deps.hashes)
    assert outcome.result.reasons == {"schema_violated": 1}


async def test_the_ledger_forgets_what_counts(analyst: Analyst) -> None:
    job = await analyst.send([event("a")])
    await analyst.work()
    ((payload,),) = await analyst.gateway.fetch("SELECT payload FROM ledger.jobs WHERE id = $1", job.id)
    assert payload in ({}, "{}")


def test_a_hash_is_of_one_tenant_and_needs_the_key() -> None:
    hashes = SubjectHashes(SECRET)
    assert hashes.of("a", "bc") != hashes.of("ab", "c")
    assert hashes.of("a", "b") != SubjectHashes("x" * 32).of("a", "b")
    assert hashes.of("a", "b") == SubjectHashes(SECRET).of("a", "b")


async def test_tenants_are_counted_apart(analyst: Analyst) -> None:
    await asyncio.gather(*(analyst.send([event("a")], tenant=tenant) for tenant in "xyz"))
    await analyst.work(workers=3)
    for tenant in "xyz":
        assert len(await analyst.rollups(tenant)) == 1
        assert list((await analyst.estimates(tenant)).values()) == [1]
