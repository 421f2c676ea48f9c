"""Four gateways' limiters in processes of their own, and what they admitted together."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[5]
CLOCKS_WRONG_BY_MS = (-500, -170, 170, 500)

Admission = tuple[int, int]
"""When it was asked for and answered, in µs: it was decided somewhere in between."""


class Gateways:
    """Processes that wait for the word."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start them, and wait until all are ready."""
        for number, wrong_by_ms in enumerate(CLOCKS_WRONG_BY_MS):
            orders = self._orders | {"seed": self._orders["seed"] * 10 + number, "clock_wrong_by_ms": wrong_by_ms}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.integration.services.gateway.limits.traffic", json.dumps(orders),
                cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            self._processes.append(process)
        for process in self._processes:
            assert process.stdout is not None
            while (line := await process.stdout.readline()) != b"ready\n":
                assert line, "a gateway has died"

    async def admitted(self) -> tuple[list[Admission], set[str]]:
        """Let them run to the end: all admissions, and who decided them."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        admissions, modes = [], set()
        for output, _ in await asyncio.gather(*(process.communicate() for process in self._processes)):
            for line in output.splitlines():
                if not line.startswith(b"{"):  # its log
                    asked, answered, mode = line.decode().split()
                    admissions.append((int(asked), int(answered)))
                    modes.add(mode)
        assert [process.returncode for process in self._processes] == [0] * len(self._processes)
        return admissions, modes


def most_in_a_window(admissions: Sequence[Admission], window_us: int) -> int:
    """The most admissions that were decided for certain within one window."""
    most = 0
    for begin, _ in admissions:
        most = max(most, sum(asked >= begin and answered < begin + window_us for asked, answered in admissions))
    return most
