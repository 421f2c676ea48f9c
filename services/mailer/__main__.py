"""python -m services.mailer"""

from libs.common.contracts.mail import MailPayload
from libs.common.worker import service
from services.mailer.config import Settings
from services.mailer.handler import handle, resources
from services.mailer.rpc_handlers import HANDLERS


def main() -> None:
    """Send mail until SIGTERM."""
    service.main(service.Service("mailer", Settings, MailPayload, resources, handle, rpc_handlers=HANDLERS))


if __name__ == "__main__":
    main()
