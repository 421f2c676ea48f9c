"""python -m services.analytics"""

from libs.common.contracts.analytics import AnalyticsPayload as Payload
from libs.common.worker import service
from services.analytics.config import Settings
from services.analytics.handler import handle, resources
from services.analytics.rpc_handlers import HANDLERS


def main() -> None:
    """Count events until SIGTERM."""
    service.main(service.Service("analytics", Settings, Payload, resources, handle, rpc_handlers=HANDLERS))


if __name__ == "__main__":
    main()
