"""/livez, /readyz and /metrics on an internal port, served by a thread beside the event loop.

A thread still answers when the event loop is stuck. After WEDGED_AFTER_S, /livez fails and the log shows where the
loop is stuck; after twice that time the process exits. Liveness depends on no other server; readiness is whatever
the process reports of itself.
"""

import asyncio
import faulthandler
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from libs.common import background, children, log, metrics
from libs.common.config import ProbeSettings

WEDGED_AFTER_S = 30.0
"""An event loop that has not ticked for this long counts as stuck. It is longer than a lease, so jobs are safe."""

STDERR = 2
"""The file descriptor, which works whatever sys.stderr is replaced with."""

logger = log.get("probes")


class Answer(NamedTuple):
    """What is answered to a GET."""

    status: int
    media_type: str
    body: bytes


Pages = Mapping[str, Callable[[], Answer]]
"""More that is served on the port, by path. The functions are called by other threads than the event loop's."""
NO_PAGES: Pages = MappingProxyType({})


class Probes:
    """The health of this process. The function `ready` must be cheap and must not call another server."""

    def __init__(self, ready: Callable[[], bool], pages: Pages = NO_PAGES) -> None:
        self.ready = ready
        self.pages = pages
        self._ticked_at = time.monotonic()
        self._children_used_s = 0.0
        self._loop_thread = threading.get_ident()

    def watch(self, stop: threading.Event, on_wedged: Callable[[], None], *, every_s: float = 1.0) -> None:
        """Run on a thread until `stop` is set: log where the event loop is stuck, and later call `on_wedged`.

        Time in which the whole process was suspended does not count, because this thread counts its own rounds of
        `every_s` seconds.
        """
        seen, silent_s = self._ticked_at, 0
        while not stop.wait(every_s):
            silent_s = silent_s + 1 if self._ticked_at == seen else 0
            seen = self._ticked_at
            if silent_s == WEDGED_AFTER_S:
                logger.error("loop.wedged", silent_s=silent_s, exc_info=_wedged(self._loop_thread))
                faulthandler.dump_traceback(file=STDERR)
            elif silent_s >= 2 * WEDGED_AFTER_S:
                on_wedged()
                return

    def alive(self) -> bool:
        """Whether the event loop has ticked within WEDGED_AFTER_S."""
        return time.monotonic() - self._ticked_at < WEDGED_AFTER_S

    async def tick(self) -> None:
        """Tick once a second, without end, on the event loop that is watched."""
        self._loop_thread = threading.get_ident()
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(1)
            metrics.loop_lag_seconds.set(time.monotonic() - self._ticked_at - 1)

    def _count_children(self) -> None:
        """Only when asked, as the files of every child are read. What is read while one ends may be too little."""
        used_s = children.cpu_seconds()
        metrics.children_cpu_seconds.inc(max(0.0, used_s - self._children_used_s))
        self._children_used_s = max(used_s, self._children_used_s)

    def answer(self, path: str) -> Answer:
        """The answer to a GET of `path`."""
        match path.partition("?")[0]:
            case "/metrics":
                self._count_children()
                return Answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            case "/livez":
                return _text(200, "ok") if self.alive() else _text(503, "stuck")
            case "/readyz":
                return _text(200, "ok") if self.ready() else _text(503, "not ready")
            case page if page in self.pages:
                return self.pages[page]()
        return _text(404, "not found")


class LoopWedged(Exception):
    """The event loop does not turn. The traceback is where it is."""


def _wedged(thread: int) -> LoopWedged:
    frame, traceback = sys._current_frames().get(thread), None
    while frame is not None:
        traceback = TracebackType(traceback, frame, frame.f_lasti, frame.f_lineno or 0)
        frame = frame.f_back
    return LoopWedged().with_traceback(traceback)


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain", text.encode() + b"\n")


@asynccontextmanager
async def serving(
    settings: ProbeSettings, ready: Callable[[], bool], pages: Pages = NO_PAGES
) -> AsyncIterator[Probes]:
    """Serve probes and `pages` while the block runs. Raises OSError if the port is in use."""
    probes = Probes(ready, pages)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, media_type, body = probes.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Log nothing: probes come every few seconds."""

    server = ThreadingHTTPServer((settings.probes_host, settings.probes_port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    logger.info("probes.listening", port=server.server_address[1])
    ended = threading.Event()
    threading.Thread(
        target=probes.watch, args=(ended, background.exit_for_restart), name="watchdog", daemon=True
    ).start()
    try:
        # Without ticks the process would be taken for stuck.
        async with background.alongside(background.essential(probes.tick())):
            yield probes
    finally:
        ended.set()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
