"""python -m services.mailer"""

from libs.common import service
from libs.common.contracts.mail import MailPayload
from services.mailer.answers import ANSWERS
from services.mailer.config import Settings
from services.mailer.handler import handle, resources


def main() -> None:
    """Send mail until SIGTERM."""
    service.main(service.Service("mailer", Settings, MailPayload, resources, handle, answers=ANSWERS))


if __name__ == "__main__":
    main()
