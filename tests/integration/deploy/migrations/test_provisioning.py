"""What a new service's migration gets from provisioning.py: a table that only it and its tenants' rows reach."""

import asyncpg
import pytest

from deploy.migrations import provisioning
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import Role
from libs.common.db import Database

BILLING = Role("argosy_test_billing", "argosy_test_billing_tenant")
ENTER = "INSERT INTO billing.invoices (id, tenant) VALUES ($1, $2)"


@pytest.fixture
async def invoices(database: Database) -> None:
    """A new service's table, made twice over as a repeated migration would."""
    for _ in range(2):
        for statement in provisioning.service("billing", BILLING.name, BILLING.of_a_tenant):
            await database.fetch(statement)
        await database.fetch(
            "CREATE TABLE IF NOT EXISTS billing.invoices (id int PRIMARY KEY, tenant text NOT NULL)"
        )
        for statement in provisioning.table("billing.invoices", BILLING.name, BILLING.of_a_tenant):
            await database.fetch(statement)


@pytest.mark.usefixtures("invoices")
async def test_the_service_sees_all_rows_and_a_tenant_its_own(database_settings: DatabaseSettings) -> None:
    async with db.connect(database_settings, "billing", role=BILLING) as billing:
        await billing.fetch(ENTER, 1, "a", tenant="a")
        await billing.fetch(ENTER, 2, "b")
        assert len(await billing.fetch("SELECT FROM billing.invoices")) == 2
        assert [row[0] for row in await billing.fetch("SELECT id FROM billing.invoices", tenant="a")] == [1]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await billing.fetch(ENTER, 3, "b", tenant="a")


@pytest.mark.usefixtures("invoices")
async def test_another_service_does_not_reach_it(database_settings: DatabaseSettings) -> None:
    for role in (Role.GATEWAY, Role.WORKER):
        async with db.connect(database_settings, "other", role=role) as other:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await other.fetch("SELECT FROM billing.invoices")


@pytest.mark.usefixtures("invoices")
async def test_the_new_role_may_work_on_the_ledger(database_settings: DatabaseSettings) -> None:
    async with db.connect(database_settings, "billing", role=BILLING) as billing:
        assert await billing.fetch("SELECT count(*) FROM ledger.jobs")
