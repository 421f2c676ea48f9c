"""/livez, /readyz and /metrics on an internal port, answered by a thread beside the event loop.

A thread, because a wedged loop must not be able to hide itself: /livez fails when the loop has not
ticked for a while, the log says where it is stuck, and in the end the process gives up. Liveness asks no
other server; readiness is what the process says of itself.
"""

import asyncio
import faulthandler
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from libs.common import background, log, metrics
from libs.common.config import ProbeSettings

WEDGED_AFTER_S = 30.0
"""A loop that has not come round for this long is held to be stuck: longer than a lease, so jobs are safe."""

STDERR = 2
"""The descriptor: whatever sys.stderr is at that moment, this still writes."""

logger = log.get("probes")


class Probes:
    """What this process says of its health. `ready` is a function that must be cheap and ask nobody."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready
        self._ticked_at = time.monotonic()

    def watch(self, stop: threading.Event, on_wedged: Callable[[], None], *, every_s: float = 1.0) -> None:
        """Run on a thread until `stop`: should the loop not come round, say where it is stuck, and then give up.

        Seconds in which this whole process stood still (a suspended machine) do not count: each is seen here.
        """
        seen, silent_s = self._ticked_at, 0
        while not stop.wait(every_s):
            silent_s = silent_s + 1 if self._ticked_at == seen else 0
            seen = self._ticked_at
            if silent_s == WEDGED_AFTER_S:
                logger.error("loop.wedged", silent_s=silent_s)
                faulthandler.dump_traceback(file=STDERR)
            elif silent_s >= 2 * WEDGED_AFTER_S:
                on_wedged()
                return

    def alive(self) -> bool:
        """Whether the event loop still comes round."""
        return time.monotonic() - self._ticked_at < WEDGED_AFTER_S

    async def tick(self) -> None:
        """Run for ever on the loop that is watched."""
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(1)
            metrics.loop_lag_seconds.set(time.monotonic() - self._ticked_at - 1)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body for `path`."""
        match path.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
            case "/livez":
                return (200, "text/plain", b"ok\n") if self.alive() else (503, "text/plain", b"stuck\n")
            case "/readyz":
                return (200, "text/plain", b"ok\n") if self.ready() else (503, "text/plain", b"not ready\n")
        return 404, "text/plain", b"not found\n"


def _give_up() -> None:
    """End the process, for whoever keeps it alive to start it anew. Its jobs went to others long ago."""
    os._exit(70)


@asynccontextmanager
async def serving(settings: ProbeSettings, ready: Callable[[], bool]) -> AsyncIterator[Probes]:
    """Answer probes while the block runs. Raises OSError if the port is taken."""
    probes = Probes(ready)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, media_type, body = probes.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Probes come every few seconds; they are not news."""

    server = ThreadingHTTPServer((settings.probes_host, settings.probes_port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    logger.info("probes.listening", port=server.server_address[1])
    over = threading.Event()
    threading.Thread(target=probes.watch, args=(over, _give_up), name="watchdog", daemon=True).start()
    try:
        async with background.alongside(probes.tick()):
            yield probes
    finally:
        over.set()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
