"""Limits previews, which run the templates of users: AT_ONCE in all, one per tenant, PREVIEW_S seconds each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from libs.common.sandbox.sandbox import Sandbox

AT_ONCE = 2
PREVIEW_S = 2.0


class PreviewSlots:
    """The slots in which previews run. `sandbox`: one with a time limit of PREVIEW_S."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tenants: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a slot for `tenant`, and hold it while the block runs."""
        tenant_lock = self._tenants.setdefault(tenant, asyncio.Lock())
        async with tenant_lock, self._free:
            yield
