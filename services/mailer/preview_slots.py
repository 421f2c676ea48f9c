"""Previews are somebody's programs too: a few at once beside the letters, one of a tenant, and short ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from libs.common.sandbox.sandbox import Sandbox

AT_ONCE = 2
PREVIEW_S = 2.0


class PreviewSlots:
    """Where previews are made, and in which order. `sandbox`: with little time for each."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tenants: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Wait for one of `tenant`'s turns, and have it for the block."""
        mine = self._tenants.setdefault(tenant, asyncio.Lock())
        async with mine, self._free:
            yield
