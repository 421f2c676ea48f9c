"""What workers say that they can do, and what is concluded from it."""

import pytest

from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger.claim import Offers
from libs.common.ledger.jobs import new_id
from libs.common.worker.lease import Lease
from services.gateway.engine import offers
from services.gateway.engine.offers import WorkerOffers
from tests.polling import until


async def came(database: Database, told: Offers | None, *, queue: str = "ocr") -> None:
    worker = new_id()
    await leases.register(database, worker, queue=queue, slots=1, host="h", pid=1)
    if told is not None:
        await leases.tell_offers(database, worker, told)


async def lacking(known: WorkerOffers, *wanted: str) -> frozenset[str] | None:
    return await known.without("ocr", "languages", wanted)


async def test_what_no_worker_offers_is_told_with_what_they_do_offer(database: Database) -> None:
    known = WorkerOffers(database)
    assert await lacking(known, "zzz") is None, "there is no worker"
    await came(database, {"languages": ["eng"]})
    await came(database, {"languages": ["deu", "eng"]})
    await came(database, None, queue="mailer")
    assert await lacking(known, "eng", "zzz") == frozenset({"eng", "deu"})
    assert await lacking(known, "eng", "deu") is None
    assert await lacking(known) is None


@pytest.mark.parametrize("told", [None, {}, {"formats": ["pdf"]}])
async def test_a_worker_that_does_not_say_may_be_able_to_do_anything(
    database: Database, told: Offers | None
) -> None:
    await came(database, {"languages": ["eng"]})
    await came(database, told)
    assert await lacking(WorkerOffers(database), "zzz") is None


async def test_a_worker_that_has_just_come_is_not_overlooked(database: Database) -> None:
    known = WorkerOffers(database)
    await came(database, {"languages": ["eng"]})
    assert await lacking(known, "deu") == frozenset({"eng"})
    await came(database, {"languages": ["deu"]})
    assert await lacking(known, "deu") is None


async def test_what_is_known_is_not_asked_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    known = WorkerOffers(database)
    await came(database, {"languages": ["eng"]})
    assert await lacking(known, "eng") is None
    await database.fetch("DELETE FROM ledger.workers")
    await came(database, {"languages": ["deu"]})
    assert await lacking(known, "eng") is None, "it is cached"
    monkeypatch.setattr(offers, "CACHED_FOR_S", 0.0)
    assert await lacking(known, "eng") == frozenset({"deu"})


async def test_a_worker_says_it_again_when_it_registers_anew(database: Database, nats_bus: Bus) -> None:
    lease = Lease(database, nats_bus, "ocr", 1, {"languages": ["eng"]})

    async def said() -> bool:
        return await lacking(WorkerOffers(database), "zzz") == frozenset({"eng"})

    async with lease.kept():
        await until(said)
        await database.fetch("DELETE FROM ledger.workers")
        lease._renewed_at = float("-inf")
        await until(lambda: database.fetch("SELECT FROM ledger.workers"))
        await until(said)
