"""Bounces that come at once and later are both counted, of those that a letter was sent to."""

from pathlib import Path

from deploy.grafana.boards.mail import MAIL
from tests.panel_values import assert_shows


def recipients(state: str, values: str) -> dict[str, str]:
    return {f'argosy_mail_recipients_total{{service="mailer",state="{state}"}}': values}


def reports(kind: str, values: str) -> dict[str, str]:
    return {f'argosy_mail_reports_total{{service="mailer",kind="{kind}"}}': values}


def test_the_share_that_bounces(tmp_path: Path) -> None:
    series = recipients("sent", "0+9x240") | recipients("bounced", "0+1x240") | reports("bounce", "0+1x240")
    assert_shows(tmp_path, MAIL, "Recipients that bounce (1 h)", series, {"{}": 0.2}, minutes=60)


def test_the_share_that_complains(tmp_path: Path) -> None:
    series = recipients("sent", "0+100x240") | reports("complaint", "0+1x240")
    assert_shows(tmp_path, MAIL, "Recipients that complain (24 h)", series, {"{}": 0.01}, minutes=60)


def test_refusals_of_relays_are_0_until_there_is_one(tmp_path: Path) -> None:
    title = "Refusals by relays"
    assert_shows(tmp_path, MAIL, title, {}, {'{relay="none"}': 0})
    refused = {'argosy_mail_relay_refusals_total{relay="a",step="mail",code="550"}': "0+15x40"}
    assert_shows(tmp_path, MAIL, title, refused, {'{relay="a",step="mail",code="550"}': 1})
