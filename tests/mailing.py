"""The mailer on a ledger, a Redis and a relay of a test's own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.test_servers import Trio
from libs.common import background, rpc
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.config import BlobSettings
from libs.common.contracts.mail import AddressedRecipient, Letter, MailPayload, Recipient
from libs.common.db import Database
from libs.common.handler_testkit import drain
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from libs.common.worker.service import Platform
from libs.common.worker.worker import Worker
from services.gateway.engine.dispatcher import Dispatcher
from services.mailer import rpc_handlers
from services.mailer.config import Settings
from services.mailer.handler import Deps, handle, resources
from tests.polling import until
from tests.relay import Relay

TENANT = "dev"


@dataclass
class Mailer:
    """Takes letters and works them off; says how their recipients stand."""

    database: Database
    """As the mailer has it."""
    gateway: Database
    """As a gateway has it, which takes letters and asks how they stand."""
    bus: Bus
    blobs: Blobs
    relay: Relay
    base: dict[str, Any]
    stack: AsyncExitStack
    deps: Deps = field(init=False)

    async def configured(self, **settings: Any) -> "Mailer":
        """With other settings."""
        made = Settings.model_validate(self.base | settings)
        self.deps = await self.stack.enter_async_context(resources(made, Platform(self.database, self.blobs)))
        return self

    async def accept(self, *, tenant: str = TENANT, **payload: Any) -> NewJob:
        """A letter, as the gateway would hand it in."""
        letter = Letter.model_validate({"from": "Harbour <office@argosy.test>"} | payload.pop("letter"))
        recipients = [Recipient.model_validate(recipient) for recipient in payload.pop("recipients", ())]
        days_before = payload.pop("days_before", ())
        copies = [Recipient(to=address) for name in ("to", "cc", "bcc") for address in payload.get(name, ())]
        body = MailPayload(
            letter=letter,
            to=payload.pop("to", ()),
            cc=payload.pop("cc", ()),
            recipients=tuple(AddressedRecipient.of(recipient) for recipient in (*copies, *recipients)),
            is_template=bool(recipients or days_before),
            days_before=days_before,
            deadlines=payload.pop("deadlines", ""),
        )
        job = NewJob(
            tenant, "key", "mailer", "letter", body.model_dump_json(by_alias=True).encode(), max_attempts=1
        )
        await accept(self.gateway, [job], ticketed=[False])
        return job

    async def work(self) -> None:
        """Run all that waits and is due."""
        await drain(self.database, self.bus, "mailer", MailPayload, handle, self.deps)

    async def finish(self, job: NewJob, *, within_s: float = 300) -> dict[str, Any]:
        """Work until the job has ended; its facts."""
        deadline = time.monotonic() + within_s
        while True:
            await self.work()
            facts = await jobs.find(self.gateway, job.tenant, job.id)
            assert facts is not None
            if facts["finished_at"]:
                return dict(facts)
            assert time.monotonic() < deadline, facts
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def at_work(self, *, workers: int = 1) -> AsyncIterator[None]:
        """Workers and a dispatcher, while the block runs; each worker with resources of its own."""
        stop = asyncio.Event()
        dispatcher = Dispatcher(self.gateway, self.bus, ["mailer"])

        async def work() -> None:
            settings = self.deps.settings
            async with resources(settings, Platform(self.database, self.blobs)) as deps:
                worker = Worker(
                    "mailer", MailPayload, handle, deps,
                    database=self.database, bus=self.bus, slots=settings.slots, grace_s=5,
                )  # fmt: skip
                async with worker.lease.kept():
                    await worker.run(stop)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        async with background.alongside(background.optional(dispatcher.run())):
            try:
                async with self.answering():
                    yield
            finally:
                stop.set()
                await asyncio.gather(*tasks)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Questions are answered while the block runs."""
        answerer = rpc.serve(rpc_handlers.HANDLERS, self.deps)
        async with self.bus.serving(rpc.subject_pattern("mailer"), answerer):
            yield

    async def ended(self, job: NewJob) -> dict[str, Any]:
        """Its facts, when it has ended."""

        async def facts() -> dict[str, Any] | None:
            found = await jobs.find(self.gateway, job.tenant, job.id)
            return dict(found) if found is not None and found["finished_at"] else None

        found = await until(facts)
        assert found is not None
        return found

    async def all_ended(self) -> list[dict[str, Any]]:
        """The facts of all jobs, when the last has ended."""

        async def left() -> bool:
            return not await self.database.fetch("SELECT FROM ledger.jobs WHERE finished_at IS NULL LIMIT 1")

        await until(left)
        rows = await self.database.fetch("SELECT to_jsonb(j) FROM ledger.jobs j")
        return [row[0] for row in rows]

    async def recipients(self, job: NewJob) -> dict[str, dict[str, Any]]:
        """What is known of each, by address."""
        question = {"letter": job.id.hex, "after": -1, "limit": 20_000, "state": None}
        found = await rpc_handlers.recipients(job.tenant, question, self.deps)
        return {recipient["to"]: recipient for recipient in found["recipients"]}

    async def states(self, job: NewJob) -> dict[str, str]:
        """By local part."""
        found = await self.recipients(job)
        return {address.partition("@")[0]: recipient["state"] for address, recipient in found.items()}


@asynccontextmanager
async def mailing(
    database: Database, gateway: Database, bus: Bus, servers: Trio, folder: Path, relay: Relay
) -> AsyncIterator[Mailer]:
    base = {
        "database_url": "x",
        "nats_url": "nats://x",
        "blob_url": "x",
        "redis_url": servers.redis.urls["mailer"],
        "mail_relays": f"smtp://127.0.0.1:{relay.port}",
        "mail_secret": "not a secret, but long enough to be one",
        "public_url": "https://argosy.test",
        "mail_timeout_s": 30,
        "mail_retry_s": 0.05,
    }
    blobs = Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
    async with AsyncExitStack() as stack:
        yield await Mailer(database, gateway, bus, blobs, relay, base, stack).configured()
