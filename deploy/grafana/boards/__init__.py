"""One module a board: what it shows, and why."""

from deploy.grafana.boards.analytics import ANALYTICS
from deploy.grafana.boards.exports import EXPORTS
from deploy.grafana.boards.fleet import FLEET
from deploy.grafana.boards.gateway import GATEWAY
from deploy.grafana.boards.kubernetes import KUBERNETES
from deploy.grafana.boards.mail import MAIL
from deploy.grafana.boards.ocr import OCR
from deploy.grafana.boards.queue import QUEUES
from deploy.grafana.boards.runbooks import RUNBOOKS
from deploy.grafana.boards.sync import SYNC

OF_THE_FLEET = (FLEET, GATEWAY, QUEUES, OCR, MAIL, SYNC, EXPORTS, ANALYTICS)
"""What Prometheus has of every fleet, also of one on this machine."""
BOARDS = (*OF_THE_FLEET, KUBERNETES, RUNBOOKS)
