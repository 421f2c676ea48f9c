"""Command: python -m services.gateway serves the API."""

import asyncio
import resource
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from libs.common import config, gc_tuning, log
from services.gateway.app import create_app, drain
from services.gateway.config import Settings
from services.gateway.http.protocol import HttpProtocol


class Server(uvicorn.Server):
    """Uvicorn, but a SIGTERM first drains the application."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.gateway_host,
                port=settings.gateway_port,
                loop="uvloop",
                http=HttpProtocol,
                log_config=None,
                lifespan="off",  # see _serve
                access_log=False,
                server_header=False,
                proxy_headers=False,  # see http/client_address.py
                timeout_graceful_shutdown=int(settings.shutdown_grace_s),
            )
        )
        self._app = app
        self._drain_s = settings.gateway_drain_s
        self._starting: asyncio.Task[object] | None = None

    async def _serve(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Serve while the application's resources are open, and let their errors pass: uvicorn would log them.

        Remembers the loop and the task for `handle_exit`, which runs outside of them.
        """
        self._loop, self._starting = asyncio.get_running_loop(), asyncio.current_task()
        async with self._app.router.lifespan_context(self._app):
            await super()._serve(sockets)  # type: ignore[arg-type]

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start to listen."""
        await super().startup(sockets)  # type: ignore[arg-type]
        gc_tuning.tune()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On the first signal, drain: serve on for GATEWAY_DRAIN_S while not ready. On the second, stop now."""
        if not self.started and self._starting is not None:  # still waiting for a server, so nothing to drain
            self._loop.call_soon_threadsafe(self._starting.cancel)
        elif not self.started or self._app.state.draining.is_set():
            super().handle_exit(sig, frame)
        else:
            self._loop.call_soon_threadsafe(self._drain, sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        drain(self._app)
        self._loop.call_later(self._drain_s, super().handle_exit, sig, frame)


def main() -> None:
    """Serve HTTP until SIGTERM. Open requests then get SHUTDOWN_GRACE_S to end."""
    settings = config.load(Settings)
    log.setup("gateway")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every follower is an open connection
    with suppress(asyncio.CancelledError), config.exit_if_refused():  # cancelled: stopped before it had started
        Server(create_app(settings), settings).run()


if __name__ == "__main__":
    main()
