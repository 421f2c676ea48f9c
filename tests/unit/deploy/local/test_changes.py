"""Which programs `make up` leaves alone, starts, restarts and stops."""

from dataclasses import replace

from deploy.local.changes import UNKNOWN, Action, Change, differences, plan
from deploy.local.program_specs import Program

OCR = Program("ocr", ["python", "-m", "services.ocr"], {"OCR_CONCURRENCY": "2", "BLOB_URL": "x"}, code="1")
NATS = Program("nats", ["nats-server"], code="1")


def test_what_is_the_same_is_left_alone() -> None:
    changes = plan([NATS, OCR], {"nats": NATS.started, "ocr": OCR.started}, {"nats": "active", "ocr": "active"})
    assert [change.action for change in changes] == [Action.KEEP, Action.KEEP]


def test_more_processes_are_no_reason_to_restart_those_that_run() -> None:
    assert differences(OCR.started, replace(OCR, processes=3)) == []


def test_another_version_of_the_same_code_is_no_reason_either() -> None:
    assert differences(replace(OCR.started, version="another"), OCR) == []


def test_each_difference_is_named() -> None:
    environment = {"OCR_CONCURRENCY": "4", "LIMITS": "x"}
    now = replace(OCR, environment=environment, code="2", command=["pypy"])
    assert differences(OCR.started, now) == ["new code", "new command", "BLOB_URL", "LIMITS", "OCR_CONCURRENCY"]
    assert differences(NATS.started, replace(NATS, code="2")) == ["new configuration"]
    assert differences(None, NATS) == [UNKNOWN]


def test_what_does_not_run_is_started_and_what_is_not_wanted_is_stopped() -> None:
    changes = plan([OCR, NATS], {"ocr": OCR.started}, {"ocr": "stopped", "catcher": "active"})
    assert changes == [
        Change("ocr", Action.START, []),
        Change("nats", Action.START, []),
        Change("catcher", Action.REMOVE, ["not needed any more"]),
    ]


def test_values_are_not_kept() -> None:
    assert "hush" not in str(replace(OCR, environment={"TOKEN_SECRET": "hush"}).started)
