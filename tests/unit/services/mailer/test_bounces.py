"""What a message reports."""

import pytest

from services.mailer.bounces import Report, read

FAILED = "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 nobody\n here\n"


def delivery_report(*blocks: str) -> bytes:
    body = "\n".join(("Reporting-MTA: dns; far.test\n", *blocks))
    head = 'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n'
    return f"{head}{body}\n--b--\n".encode()


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00\xff" * 100, b"Content-Type: message/delivery-status\n\n\n\n", b"\n"]
)
def test_garbage_is_no_report(garbage: bytes) -> None:
    assert read(garbage) is None


def test_a_failure_has_its_code_and_what_the_server_said_in_one_line() -> None:
    assert read(delivery_report(FAILED)) == Report(False, "5.1.1", "550 nobody here")


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_what_is_not_the_end_is_nothing(action: str) -> None:
    assert read(delivery_report(FAILED.replace("failed", action))) is None


def test_actions_may_be_written_in_any_case() -> None:
    assert read(delivery_report(FAILED.replace("failed", "  FAILED"))) is not None


def test_a_failure_that_says_no_more_is_one_all_the_same() -> None:
    assert read(delivery_report("Action: failed\n")) == Report(False, "5.0.0", "")
    assert read(delivery_report("Action: failed\nStatus: \n")) == Report(False, "5.0.0", "")


def test_of_several_blocks_the_first_failure_counts() -> None:
    found = read(delivery_report("Action: delayed\nStatus: 4.4.1\n", FAILED, "Action: failed\nStatus: 5.7.1\n"))
    assert found == Report(False, "5.1.1", "550 nobody here")


def test_what_is_kept_of_a_long_report_is_short() -> None:
    found = read(delivery_report(f"Action: failed\nStatus: 5.{'1' * 900}\nDiagnostic-Code: x; {'y' * 900}\n"))
    assert found is not None
    assert len(found.status) <= 20
    assert found.text == "y" * 500


def test_a_complaint_is_one_also_in_a_forwarded_message() -> None:
    complaint = b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
    assert read(complaint) == Report(is_complaint=True)
    assert read(b"Content-Type: message/rfc822\n\n" + complaint) == Report(is_complaint=True)
