"""Mailers killed at every step of the dialogue: nobody is lost, and nobody gets a letter twice but in doubt.

Each run has a mailer of its own with one letter to `RECIPIENTS`; at a step with a recipient that the seed chooses
the relay kills it, and another mailer takes over when its lease has run out. What arrived is counted at the relay.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from deploy.migrations.provisioning import QUEUE_COLUMNS
from libs.common import background, bus, db
from libs.common.backoff import until_available
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.contracts.mail import AddressedRecipient, Letter, MailPayload
from libs.common.contracts.services import MAILER
from libs.common.db import Database
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from services.gateway.engine.dispatcher import Dispatcher
from tests.relay import Relay, relaying

ROOT = Path(__file__).resolve().parents[2]
RECIPIENTS = 30
STEPS = ("CONNECT", "MAIL", "RCPT", "DATA", "BODY", "END", "OVER")
"""A connection made; a command received; the body received but for its end; all received; and answered."""
AT_ONCE = 20
QUEUES_OF_ITS_OWN = [
    f"CREATE POLICY of_chaos ON ledger.{table} TO {MAILER.role.name} USING ({column} LIKE 'mail\\_%')"
    for table, column in QUEUE_COLUMNS.items()
]
"""The mailer's role is let into the queues of all runs: its own is one only."""


@dataclass
class Run:
    """One mailer's death."""

    step: str
    seed: int
    relay: Relay = field(default_factory=Relay)
    job: NewJob | None = None
    mailer: subprocess.Popen[bytes] | None = None
    killed: bool = False
    ended: str = ""
    states: dict[str, str] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """A queue of its own."""
        return f"mail_{self.step.lower()}_{self.seed}"

    def faults(self) -> list[str]:
        """What must not be."""
        counts = self.relay.counts()
        found = [] if self.killed else ["nobody was killed"]
        if self.ended.strip() != "succeeded":
            found.append(f"the job has {self.ended}")
        for address, state in self.states.items():
            if state not in ("sent", "unknown"):
                found.append(f"{address} is {state}")
            if state == "sent" and counts[address] != 1:
                found.append(f"{address} is sent, and arrived {counts[address]} times")
            if state == "unknown" and counts[address] > 1:
                found.append(f"{address} arrived {counts[address]} times")
        if len(self.states) != RECIPIENTS:
            found.append(f"{len(self.states)} recipients")
        return found

    def unknown(self) -> int:
        """Recipients in doubt."""
        return sum(state == "unknown" for state in self.states.values())


def addresses(run: Run) -> list[str]:
    return [f"r{number}-{run.step.lower()}-{run.seed}@kill.test" for number in range(RECIPIENTS)]


def kill_at(run: Run) -> None:
    """Let the relay kill the mailer at the run's step, for the recipient that its seed chooses."""
    chance = random.Random(f"{run.step} {run.seed}")  # noqa: S311
    turn, seen = chance.randrange(1, RECIPIENTS if run.step not in ("CONNECT",) else 4), 0

    def at(step: str, _recipient: str) -> None:
        nonlocal seen
        if step != run.step or run.killed or run.mailer is None:
            return
        seen += 1
        if seen == turn:
            run.killed = True
            os.killpg(run.mailer.pid, signal.SIGKILL)

    run.relay.at = at


async def play(run: Run, database: Database, settings: dict[str, str], folder: Path) -> None:
    """One letter, a mailer that is killed, and one that takes over."""
    kill_at(run)
    async with relaying(run.relay):
        letter = Letter.model_validate(
            {"from": "office@argosy.test", "subject": "Tides", "text": "Dear {{ name }}"}
        )
        recipients = tuple(
            AddressedRecipient(address=address, variables={"name": address}) for address in addresses(run)
        )
        payload = MailPayload(letter=letter, recipients=recipients, is_template=True)
        body = payload.model_dump_json(by_alias=True).encode()
        run.job = job = NewJob("chaos", "key", run.queue, "letter", body)
        environment = settings | {"MAIL_RELAYS": f"smtp://127.0.0.1:{run.relay.port}"}
        with (folder / f"{run.step}-{run.seed}.log").open("wb") as log:
            command = [sys.executable, "-m", "tests.chaos.one_mailer", run.queue, run.job.id.hex]
            for _ in range(2):
                mailer = await asyncio.to_thread(
                    subprocess.Popen, command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
                if run.mailer is None:
                    run.mailer = mailer
                    await until_available(lambda: accept(database, [job], ticketed=[False]))
                await asyncio.to_thread(mailer.wait)
        rows = await database.fetch("SELECT address, state FROM mail.recipients WHERE letter = $1", run.job.id)
        run.states = {row[0]: row[1] for row in rows}
        facts = await jobs.find(database, "chaos", run.job.id)
        run.ended = "gone" if facts is None else f"{facts['state']} {(facts['error'] or {}).get('message', '')}"


async def matrix(
    servers: Trio, database_url: str, folder: Path, seeds: Sequence[int], steps: Sequence[str] = STEPS
) -> list[Run]:
    """Every step with every seed."""
    runs = [Run(step, seed) for seed in seeds for step in steps]
    settings = {"DATABASE_URL": database_url, "NATS_URL": servers.nats.url,
                "REDIS_URL": servers.redis.urls["mailer"], "BLOB_URL": (folder / "blobs").as_uri(),
                "PROBES_PORT": "0", "DB_MIN_CONNECTIONS": "1", "DB_MAX_CONNECTIONS": "3",
                "MAIL_CONNECTIONS": "3"}  # fmt: skip
    database_settings = DatabaseSettings.model_validate({"database_url": database_url})
    async with (
        db.connect(database_settings, "chaos", role=None) as database,
        bus.connect(BusSettings.model_validate({"nats_url": servers.nats.url}), "chaos") as nats,
    ):
        for statement in QUEUES_OF_ITS_OWN:
            await database.fetch(statement)
        for start in range(0, len(runs), AT_ONCE):
            playing = runs[start : start + AT_ONCE]
            dispatcher = Dispatcher(database, nats, [run.queue for run in playing])
            async with background.alongside(background.optional(dispatcher.run())), asyncio.TaskGroup() as group:
                for run in playing:
                    group.create_task(play(run, database, settings, folder))
    return runs


def table(runs: Sequence[Run]) -> str:
    """A line for each step."""
    lines = [f"{'killed at':10} {'runs':>5} {'lost or twice':>14} {'in doubt':>9} {'of them arrived':>16}"]
    for step in dict.fromkeys(run.step for run in runs):
        mine = [run for run in runs if run.step == step]
        arrived = sum(
            run.relay.counts()[a] for run in mine for a, state in run.states.items() if state == "unknown"
        )
        bad = sum(bool(run.faults()) for run in mine)
        lines.append(f"{step:10} {len(mine):5} {bad:14} {sum(run.unknown() for run in mine):9} {arrived:16}")
    return "\n".join(lines)


async def main(seeds: int) -> int:
    """All of it; the number of runs with a fault."""
    with tempfile.TemporaryDirectory() as name, trio(Path(name), "max_connections=300") as servers:
        settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
        await asyncio.to_thread(upgrade, settings)
        runs = await matrix(servers, servers.postgres.url, Path(name), range(seeds))
    print(table(runs))
    for run in runs:
        for fault in run.faults()[:3]:
            print(f"{run.step}, seed {run.seed}: {fault}")
    return sum(bool(run.faults()) for run in runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    sys.exit(min(1, asyncio.run(main(parser.parse_args().seeds))))
