"""python -m services.sync"""

from libs.common.contracts.sync import SyncPayload as Payload
from libs.common.worker import service
from services.sync.config import Settings
from services.sync.handler import handle, resources
from services.sync.rpc_handlers import HANDLERS


def main() -> None:
    """Mirror sources until SIGTERM."""
    service.main(service.Service("sync", Settings, Payload, resources, handle, rpc_handlers=HANDLERS))


if __name__ == "__main__":
    main()
