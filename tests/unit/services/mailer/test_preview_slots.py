"""A few previews at once, one of a tenant, in the order in which they were asked for."""

import asyncio
from typing import cast

import pytest

from libs.common.sandbox.sandbox import Sandbox
from services.mailer.preview_slots import AT_ONCE, PreviewSlots

NO_PROCESS = cast(Sandbox, None)
"""Turns need none."""


class Crowd:
    """Previews that last until they are let go."""

    def __init__(self) -> None:
        self.slots = PreviewSlots(NO_PROCESS)
        self.inside: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, tenant: str) -> None:
        self._gates[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._preview(name, tenant))
        await settled()

    async def go(self, name: str) -> None:
        self._gates[name].set()
        await self._tasks[name]
        await settled()

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await settled()

    async def _preview(self, name: str, tenant: str) -> None:
        async with self.slots.slot(tenant):
            self.inside.append(name)
            try:
                await self._gates[name].wait()
            finally:
                self.inside.remove(name)


async def settled() -> None:
    """Whoever can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_tenant_has_one_at_a_time_and_takes_no_room_from_others_while_it_waits() -> None:
    crowd = Crowd()
    for number in range(3):
        await crowd.come(f"a{number}", "a")
    await crowd.come("b", "b")
    assert crowd.inside == ["a0", "b"]
    await crowd.go("a0")
    assert crowd.inside == ["b", "a1"]
    for name in ("b", "a1", "a2"):
        await crowd.go(name)


async def test_no_more_than_a_few_at_once_the_first_who_asked_first() -> None:
    crowd = Crowd()
    names = [str(number) for number in range(AT_ONCE + 2)]
    for name in names:
        await crowd.come(name, f"tenant {name}")
    for number, name in enumerate(names):
        assert crowd.inside == names[number : number + AT_ONCE]
        await crowd.go(name)


async def test_who_gives_up_leaves_the_room_to_others() -> None:
    crowd = Crowd()
    for name in ("a", "b", "c", "d"):
        await crowd.come(name, name)
    await crowd.give_up("c")
    await crowd.give_up("a")
    assert crowd.inside == ["b", "d"]
    for name in ("b", "d"):
        await crowd.go(name)


async def test_tenants_are_not_remembered() -> None:
    slots = PreviewSlots(NO_PROCESS)
    for number in range(10):
        async with slots.slot(f"tenant {number}"):
            pass
    assert len(slots._tenants) == 0
