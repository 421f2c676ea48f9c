"""Command: python -m services.gateway serves the API."""

import asyncio
import resource
from contextlib import suppress
from socket import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from libs.common import config, gc_tuning, log, telemetry
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
                lifespan="off",  # see `_serve`
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # see http/client_address.py
                timeout_keep_alive=settings.gateway_keep_alive_s,
                timeout_graceful_shutdown=int(settings.shutdown_grace_s),
            )
        )
        self._app = app
        self._drain_s = settings.gateway_drain_s

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Serve until told to stop. Remembers loop and task for `handle_exit`, which runs outside of them."""
        serving = asyncio.current_task()
        assert serving is not None  # noqa: S101
        self._loop, self._serving = asyncio.get_running_loop(), serving
        await super().serve(sockets)

    async def _serve(self, sockets: list[socket] | None = None) -> None:
        """Open what the application needs around uvicorn's work.

        As an ASGI lifespan it would be opened in a task of uvicorn's, which logs a cancellation as an error.
        """
        async with self._app.router.lifespan_context(self._app):
            await super()._serve(sockets)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        gc_tuning.tune()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On the first signal, drain: serve on for GATEWAY_DRAIN_S while not ready. On the second, stop now."""
        if not self.started:  # still waiting for a server, so nothing to drain
            self.should_exit = True  # in case that the cancellation is lost (see `background.end`)
            self._loop.call_soon_threadsafe(self._serving.cancel)
        elif self._app.state.draining.is_set():
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
    with (
        suppress(asyncio.CancelledError),  # cancelled: stopped before it had started
        config.exit_if_refused(),
        telemetry.running(settings, "gateway"),
    ):
        Server(create_app(settings), settings).run()


if __name__ == "__main__":
    main()
