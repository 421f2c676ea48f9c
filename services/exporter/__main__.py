"""python -m services.exporter"""

from libs.common.contracts.exports import ExporterPayload
from libs.common.worker import service
from services.exporter.config import Settings
from services.exporter.handler import handle, resources


def main() -> None:
    """Write files until SIGTERM."""
    service.main(service.Service("exporter", Settings, ExporterPayload, resources, handle))


if __name__ == "__main__":
    main()
