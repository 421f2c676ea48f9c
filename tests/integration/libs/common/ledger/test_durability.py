"""Statements that need not wait for the disk, and answers that must wait for a standby."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from deploy.local import servers as embedded
from deploy.local.test_servers import free_port, running
from deploy.migrations.__main__ import upgrade
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.ledger import job_actions, retention
from libs.common.ledger.accept import accept
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.finish import Outcome, finish, finish_within
from libs.common.ledger.jobs import State, new_id
from services.gateway.identity import keys
from services.gateway.identity.scopes import Role
from tests.integration.libs.common.ledger.job_lifecycle import claimed, new_job, worker
from tests.polling import until

SETTING = "current_setting('synchronous_commit')"


async def test_it_holds_for_its_statement_only(database_settings: DatabaseSettings) -> None:
    bounds = database_settings.model_copy(update={"db_max_connections": 1, "db_min_connections": 1})
    async with db.connect(bounds, "test", role=None) as database:
        for _ in range(2):
            assert [row[0] for row in await database.fetch(f"SELECT {SETTING} WHERE {LAZILY}")] == ["off"]
            assert [row[0] for row in await database.fetch(f"SELECT {SETTING}")] == ["on"]


async def test_it_is_true_however_many_rows_there_are(database_settings: DatabaseSettings) -> None:
    async with db.connect(database_settings, "test", role=None) as database:
        rows = await database.fetch(f"SELECT n FROM generate_series(1, 1000) n WHERE {LAZILY}")  # noqa: S608
    assert len(rows) == 1000


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DatabaseSettings]:
    """A server of this module's own, migrated."""
    folder = tmp_path_factory.mktemp("primary")
    started = embedded.postgres(folder, free_port(), embedded.new_password(), "shared_buffers=64MB")
    settings = DatabaseSettings.model_validate({"database_url": started.url})
    with running(started, folder):
        await asyncio.to_thread(upgrade, settings)
        yield settings


@pytest.fixture
async def primary(server: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on that server, whose commits wait for a standby from `lose_standby` on."""
    async with db.connect(server, "test", role=None) as opened:
        yield opened
        await wait_for_standby(opened, "")


async def wait_for_standby(primary: Database, name: str) -> None:
    await primary.fetch(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await primary.fetch("SELECT pg_reload_conf()")

    async def is_set() -> bool:
        rows = await asyncio.gather(*(primary.fetch("SHOW synchronous_standby_names") for _ in range(10)))
        return all(row[0][0] == name for row in rows)

    await until(is_set)


async def lose_standby(primary: Database) -> None:
    """From now on every commit waits for one that never comes."""
    await wait_for_standby(primary, "nobody")


Step = Callable[[], Awaitable[object]]


async def _accept(primary: Database) -> Step:
    first = new_job(idempotency_key=new_id().hex)
    await accept(primary, [first], ticketed=[False])
    again = new_job(idempotency_key=first.idempotency_key)
    return lambda: accept(primary, [again], ticketed=[False])


async def _accept_unique(primary: Database) -> Step:
    key = new_id().hex
    await accept(primary, [new_job(unique_key=key)], ticketed=[False])
    return lambda: accept(primary, [new_job(unique_key=key)], ticketed=[False])


async def _finish(primary: Database) -> Step:
    worker_id = await worker(primary)
    ((job_id, attempt, *_),) = await claimed(primary, worker_id, new_job())
    outcome = Outcome(job_id, attempt, State.SUCCEEDED)
    assert await finish(primary, worker_id, [outcome]) == [True]
    return lambda: finish(primary, worker_id, [outcome])


async def _finish_within(primary: Database) -> Step:
    worker_id = await worker(primary)
    ((job_id, attempt, *_),) = await claimed(primary, worker_id, new_job())
    outcome = Outcome(job_id, attempt, State.SUCCEEDED)
    assert await finish(primary, worker_id, [outcome]) == [True]

    async def end_again() -> bool:
        async with primary.begin() as connection:
            return await finish_within(connection, worker_id, outcome)

    return end_again


async def _cancel(primary: Database) -> Step:
    job = new_job()
    await accept(primary, [job], ticketed=[False])
    assert await job_actions.cancel(primary, "dev", job.id)
    return lambda: job_actions.cancel(primary, "dev", job.id)


async def _revoke(primary: Database) -> Step:
    issued = await keys.issue(primary, "dev", "dev", "a key", Role.MEMBER)
    assert await keys.revoke(primary, "dev", issued.facts["id"])
    return lambda: keys.revoke(primary, "dev", issued.facts["id"])


async def _unneeded(primary: Database) -> Step:
    await primary.fetch("INSERT INTO ledger.trash (folder) VALUES ($1)", f"jobs/dev/{new_id().hex}")
    return lambda: retention.unneeded_folders(primary, 10)


@pytest.mark.parametrize(
    "prepare", [_accept, _accept_unique, _finish, _finish_within, _cancel, _revoke, _unneeded]
)
async def test_what_was_found_is_no_answer_before_a_standby_has_it(
    primary: Database, prepare: Callable[[Database], Awaitable[Step]]
) -> None:
    step = await prepare(primary)
    await step()
    await lose_standby(primary)
    await waits_until_given_up(primary, step())


async def test_an_accept_whose_wait_an_operator_cancels_is_no_accept(primary: Database) -> None:
    await lose_standby(primary)
    await waits_until_given_up(primary, accept(primary, [new_job()], ticketed=[False]))


async def test_an_accept_waits_for_a_standby_for_five_seconds(primary: Database) -> None:
    await lose_standby(primary)
    with pytest.raises(Unavailable, match="TimeoutError"):
        await accept(primary, [new_job()], ticketed=[False])


async def waits_until_given_up(primary: Database, step: Awaitable[object]) -> None:
    """It waits for a standby, and if that is cancelled on the server, it does not say that it is done."""
    waiting = asyncio.ensure_future(step)
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    async def cancelled() -> bool:
        return bool(await primary.fetch(cancel)) or waiting.done()

    await until(cancelled)
    with pytest.raises(Unavailable, match="no longer waited for a standby"):
        await waiting
