"""python -m services.gateway"""

import uvicorn

from libs.common import config, log
from services.gateway.app import create_app
from services.gateway.config import Settings


def main() -> None:
    """Serve HTTP until SIGTERM; open requests get the grace time."""
    settings = config.load(Settings)
    log.setup("gateway")
    uvicorn.run(
        create_app(settings),
        host=settings.gateway_host,
        port=settings.gateway_port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


if __name__ == "__main__":
    main()
