"""A server of a test's own, to be killed, frozen and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local.servers import Server
from deploy.local.test_servers import answers


class ServerProcess:
    """One of the three servers; it stays down when it dies, until it is started again."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers.

        A PostgreSQL that was killed refuses to start again until its children have ended.
        """
        deadline = time.monotonic() + 60
        was_there = self._process is not None
        self._process = self._launched()
        while not answers(self.server.url):
            assert time.monotonic() < deadline, f"{self.server.name} does not answer"
            time.sleep(0.02)
            if self._process.poll() is not None:
                assert was_there, f"{self.server.name} did not start"
                time.sleep(0.2)
                self._process = self._launched()

    def _launched(self) -> subprocess.Popen[bytes]:
        with (self.folder / f"{self.server.name}.log").open("ab") as output:
            return subprocess.Popen(self.server.command, stdout=output, stderr=output, start_new_session=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It says nothing while the block runs, and its connections stay open."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals) -> None:
        """Send it a signal and wait for its end."""
        assert self._process is not None
        if number is signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        self._process.wait()
