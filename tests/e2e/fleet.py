"""A fleet as its users have it: started by the command behind `make up`, spoken to over HTTP."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from deploy.local.test_servers import free_port
from tests.limits import NO_LIMITS
from tests.polling import until

ROOT = Path(__file__).resolve().parents[2]


class Fleet:
    """A fleet in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    def command(self, *words: str, code: int = 0, **given: str) -> str:
        """What it says, on stdout and then on stderr. `given`: environment variables."""
        environment = os.environ | {"ARGOSY_RUN_DIR": str(self.folder), "ARGOSY_PORT": str(self.port)}
        for name in ("DATABASE_URL", "REDIS_URL", "NATS_URL", "BLOB_URL", "MAIL_RELAYS"):
            environment.pop(name, None)
        environment |= self.variables()
        environment |= {"LIMITS": NO_LIMITS} | given
        done = subprocess.run(
            [sys.executable, "-m", "deploy.local", *words],
            env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def variables(self) -> dict[str, str]:
        """What `. .run/dev.env` leaves in a user's shell, which then runs the next command."""
        file = self.folder / "dev.env"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of this fleet whose command line has these words."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("ARGOSY_RUN_DIR") == str(self.folder)
                if ours and process.pid != os.getpid() and all(word in process.cmdline() for word in words):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def pids(self, *words: str) -> set[int]:
        """Of those processes."""
        return {process.pid for process in self.processes(*words)}

    def kill(self, *words: str) -> None:
        victims = self.processes(*words)
        assert victims, words
        for victim in victims:
            victim.send_signal(signal.SIGKILL)

    def client(self) -> httpx.AsyncClient:
        state = json.loads((self.folder / "state.json").read_text())
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {state['key']}"},
            timeout=30,
        )

    async def submit(self, content: bytes) -> str:
        async with self.client() as client:
            answer = await client.post("/v1/ocr", files={"file": ("scan.pdf", content)})
            assert answer.status_code == 202, answer.text
            return str(answer.headers["location"])

    async def job(self, path: str) -> dict[str, Any]:
        async with self.client() as client:
            answer = await client.get(path)
            found: dict[str, Any] = answer.json()
            return found

    async def ended(self, path: str) -> dict[str, Any]:
        async def has_ended() -> dict[str, Any] | None:
            job = await self.job(path)
            return job if job["finished_at"] else None

        found = await until(has_ended, patience_s=180)
        assert found is not None
        return found
