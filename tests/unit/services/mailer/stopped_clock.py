"""A clock that stands still until a test moves it."""

from types import ModuleType

import pytest


class StoppedClock:
    """In place of a module's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def stop_clock(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> StoppedClock:
    """Give `module` a clock that stands still."""
    clock = StoppedClock()
    monkeypatch.setattr(module, "time", clock)
    return clock
