"""What a service is in the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel

from libs.common.config import WorkerSettings
from libs.common.db import Role
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform, Service


class Order(BaseModel):
    """A payload."""


@asynccontextmanager
async def resources(_settings: WorkerSettings, _platform: Platform) -> AsyncIterator[None]:
    yield


async def handle(_job: Job[Order], _deps: None) -> Done:
    return Done()


@pytest.mark.parametrize(
    ("name", "role"),
    [("ocr", Role.OCR), ("mailer", Role.MAILER), ("tides", Role.WORKER), ("", Role.WORKER)],
)
def test_a_service_works_as_the_role_of_its_name_or_as_any_worker(name: str, role: Role) -> None:
    assert Service(name, WorkerSettings, Order, resources, handle).role == role
