"""python -m services.ocr"""

from libs.common.contracts.ocr import OcrPayload
from libs.common.worker import service
from services.ocr.config import Settings
from services.ocr.handler import handle, offers, resources


def main() -> None:
    """Read documents until SIGTERM."""
    service.main(service.Service("ocr", Settings, OcrPayload, resources, handle, offers=offers))


if __name__ == "__main__":
    main()
