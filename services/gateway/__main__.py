"""python -m services.gateway"""

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
    """Uvicorn, which on SIGTERM first lets the application know."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.gateway_host,
                port=settings.gateway_port,
                loop="uvloop",
                http=HttpProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # see http/client_address.py
                timeout_graceful_shutdown=int(settings.shutdown_grace_s),
            )
        )
        self._app = app
        self._drain_s = settings.gateway_drain_s
        self._starting: asyncio.Task[object] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Remember the loop, and the task: signals come from outside."""
        self._loop, self._starting = asyncio.get_running_loop(), asyncio.current_task()
        await super().startup(sockets)  # type: ignore[arg-type]
        gc_tuning.tune()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop: serve on until it is known that this gateway is not ready. A second one: stop now."""
        if not self.started and self._starting is not None:  # it still waits for a server: nobody is served
            self._loop.call_soon_threadsafe(self._starting.cancel)
        elif not self.started or self._app.state.draining.is_set():
            super().handle_exit(sig, frame)
        else:
            self._loop.call_soon_threadsafe(self._drain, sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        drain(self._app)
        self._loop.call_later(self._drain_s, super().handle_exit, sig, frame)


def main() -> None:
    """Serve HTTP until SIGTERM; open requests get the grace time."""
    settings = config.load(Settings)
    log.setup("gateway")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a follower is a connection, and there may be many
    with suppress(asyncio.CancelledError):  # told to stop before it served
        Server(create_app(settings), settings).run()


if __name__ == "__main__":
    main()
