"""One JSON line an event, with the ids of what it is about."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
import pytest
import structlog

from libs.common import log
from libs.common.contracts.ids import public_id
from libs.common.ledger.jobs import new_id
from libs.common.log import Subject, Trace

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Output:
    """What this process writes to standard output."""

    def __init__(self, captured: pytest.CaptureFixture[bytes]) -> None:
        self._captured = captured

    def lines(self) -> list[dict[str, Any]]:
        """What has come since the last look: lines of JSON all."""
        return [orjson.loads(line) for line in self._captured.readouterr().out.splitlines()]


@contextmanager
def logging_as(service: str, captured: pytest.CaptureFixture[bytes]) -> Iterator[Output]:
    """What it writes while the block runs. Afterwards logs go where they went before."""
    root = logging.getLogger()
    handlers, level, structlogs, hook = root.handlers[:], root.level, structlog.get_config(), sys.excepthook
    root.handlers.clear()
    log.setup(service)
    try:
        yield Output(captured)
    finally:
        structlog.configure(**structlogs)
        root.handlers[:], root.level, sys.excepthook = handlers, level, hook


def about(job_id: UUID, trace: str | None) -> None:
    log.about.set(Subject(job_id, trace))


async def test_a_line_says_what_part_of_which_service_and_for_which_job(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    with logging_as("ocr", capsysbinary) as output:
        job_id = new_id()

        async def work() -> None:
            about(job_id, TRACE)
            log.get("engine").info("page.read", number=7)

        await asyncio.create_task(work())
        log.get("engine").info("idle")
        read, idle = output.lines()
        assert read.items() >= {
            "event": "page.read", "level": "info", "service": "ocr", "part": "engine", "number": 7,
            "job_id": public_id(job_id), "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "request_id": "req_00f067aa0ba902b7",
        }.items()  # fmt: skip
        assert "job_id" not in idle, "another task's"


async def test_a_job_that_came_without_a_trace_has_none(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with logging_as("ocr", capsysbinary) as output:

        async def work() -> None:
            about(new_id(), None)
            log.get("engine").info("read")

        await asyncio.create_task(work())
        (line,) = output.lines()
        assert "job_id" in line
        assert "trace_id" not in line


def test_an_error_is_one_line_with_its_traceback(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with logging_as("ocr", capsysbinary) as output:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            log.get("engine").exception("engine.bug", what=object)
        (line,) = output.lines()
        assert line["level"] == "error"
        assert line["exception"].endswith("ValueError: first\nsecond")
        assert line["what"] == "<class 'object'>", "what JSON has no form for is told as text"


def test_warnings_of_libraries_are_lines_too_and_their_chatter_is_not(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    with logging_as("ocr", capsysbinary) as output:
        logging.getLogger("a.library").info("chatter")
        logging.getLogger("a.library").warning("%s is odd", "this")
        log.get("engine").debug("chatter")
        (line,) = output.lines()
        assert line.items() >= {"event": "this is odd", "level": "warning", "service": "ocr"}.items()


async def test_frequent_lines_are_written_together_in_order(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with logging_as("ocr", capsysbinary) as output:
        for number in range(3):
            log.line(event="request", number=number)
        assert output.lines() == []
        await asyncio.sleep(0)
        lines = output.lines()
        assert [line["number"] for line in lines] == [0, 1, 2]
        assert {line["service"] for line in lines} == {"ocr"}
        assert all(line["timestamp"].endswith("Z") for line in lines)
        log.line(event="request", number=3)
        await asyncio.sleep(0)
        assert [line["number"] for line in output.lines()] == [3]


async def test_no_way_into_the_log_lets_a_secret_through(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    secret = "Zk3PqV7tYw9BxNc5Rd1LmJh8Zk3PqV7t"  # noqa: S105
    text = f"a argosy_dev_a1B2c3D4e5F6_{secret}_0a1b2c3d b redis://:{secret}@localhost c"
    with logging_as("ocr", capsysbinary) as output:
        log.get("engine").info(text, path=text, deep={text: [text]}, odd=ValueError(text))
        logging.getLogger("a.library").warning("%s", text)
        log.line(event="request", path=text)
        await asyncio.sleep(0)
        try:
            raise KeyError(text)
        except KeyError as error:
            log.get("engine").exception("engine.bug")
            logging.getLogger("a.library").exception("bug")
            sys.excepthook(KeyError, error, error.__traceback__)
        written = capsysbinary.readouterr()
        lines = [orjson.loads(line) for line in written.out.splitlines()]
        assert len(lines) == 6
        assert lines[-1].items() >= {"event": "process.died", "level": "critical", "service": "ocr"}.items()
        assert all(
            "argosy_dev_a1B2c3D4e5F6_[redacted] b redis://[redacted]@localhost c" in str(line) for line in lines
        )
        assert secret not in (written.out + written.err).decode()
        assert output.lines() == []


async def test_what_ends_a_process_is_a_line_of_its_log() -> None:
    program = "from libs.common import log; log.setup('x'); raise OSError('nats://me:hidden@host is away')"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    (line,) = [orjson.loads(line) for line in output.splitlines()]
    assert line["exception"].endswith("OSError: nats://[redacted]@host is away")
    assert (process.returncode, errors) == (1, b"")


@pytest.mark.parametrize("text", ["", "00-abc", f"{TRACE}-more"])
def test_what_is_no_traceparent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        Trace.of(text)
