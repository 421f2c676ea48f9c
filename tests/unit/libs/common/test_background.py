"""What runs beside a block ends with it, whatever it does with its cancellation, and not before unnoticed."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog import DropEvent, configure, get_config
from structlog.testing import capture_logs
from structlog.types import EventDict

from libs.common.background import Tasks, alongside, end, ended_by_failure_of, optional, surviving
from libs.common.errors import Unavailable
from libs.common.log import Subject, about

ROOT = Path(__file__).resolve().parents[4]
SUBJECT = Subject(UUID(int=1), None)


def counted(metric: str, part: str) -> float | None:
    return REGISTRY.get_sample_value(f"argosy_background_{metric}_total", {"part": part})


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise ValueError("a bug")


async def returns() -> None:
    await asyncio.sleep(0)


async def test_parts_run_while_the_block_runs_and_have_ended_after_it() -> None:
    begun, ended = asyncio.Event(), []

    async def part() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with alongside(optional(part())):
        await begun.wait()
    assert ended == [True]


async def test_a_block_that_raises_ends_its_parts_too() -> None:
    running: set[asyncio.Task[object]] = asyncio.all_tasks()
    with pytest.raises(ValueError, match="the block's"):
        async with alongside(optional(for_ever())):
            raise ValueError("the block's")
    assert asyncio.all_tasks() == running


@pytest.mark.parametrize(("dies", "error"), [(fails, "a bug"), (returns, "None")])
async def test_an_optional_part_that_dies_is_logged_and_counted_and_stops_nobody(dies, error: str) -> None:  # type: ignore[no-untyped-def]
    async def works() -> None:
        while counted("deaths", dies.__qualname__) != before + 1:
            await asyncio.sleep(0)
        worked.set()
        await for_ever()

    worked, before = asyncio.Event(), counted("deaths", dies.__qualname__) or 0
    with capture_logs() as lines:
        async with alongside(optional(dies()), optional(works())):
            await worked.wait()
    told = [(line["event"], line["part"], line["essential"], str(line["exc_info"])) for line in lines]
    assert told == [("background.died", dies.__qualname__, False, error)]


async def test_a_part_that_lives_is_counted_as_no_death() -> None:
    async with alongside(optional(for_ever())):
        await asyncio.sleep(0)
        assert (counted("deaths", "for_ever"), counted("errors", "for_ever")) == (0, 0)
    assert (counted("deaths", "for_ever"), counted("errors", "for_ever")) == (0, 0)


async def test_an_error_of_a_part_that_is_being_ended_is_logged_too() -> None:
    async def fails_at_the_end() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("at the end")

    with capture_logs() as lines:
        async with alongside(optional(fails_at_the_end())):
            await asyncio.sleep(0)
    assert [str(line["exc_info"]) for line in lines] == ["at the end"]


@pytest.mark.parametrize("dies", ["raise ValueError('a bug')", "return"])
def test_an_essential_part_that_dies_ends_the_process(dies: str) -> None:
    program = f"""
import asyncio
from libs.common import background, log

async def part():
    {dies}

async def main():
    async with background.alongside(background.essential(part())):
        await asyncio.Event().wait()

log.setup("test")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == os.EX_SOFTWARE == 70
    assert b'"event":"background.died"' in ended.stdout
    assert b'"part":"part"' in ended.stdout


def test_an_essential_part_may_fail_while_it_is_being_ended() -> None:
    program = """
import asyncio
from libs.common import background

async def part():
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("at the end")

async def main():
    async with background.alongside(background.essential(part())):
        await asyncio.sleep(0)
    print("went on")

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0
    assert ended.stdout.decode().endswith("went on\n")


def test_a_round_survives_an_outage_and_a_bug_and_only_the_bug_is_counted() -> None:
    before = counted("errors", "a loop") or 0
    with capture_logs() as lines:
        for error in (Unavailable("away"), KeyError("used_at")):
            with surviving("a loop"):
                raise error
    told = [(line["event"], line["log_level"], line["part"]) for line in lines]
    assert told == [("background.unavailable", "warning", "a loop"), ("background.bug", "error", "a loop")]
    assert counted("errors", "a loop") == before + 1


async def test_a_cancelled_round_does_not_go_on() -> None:
    with pytest.raises(asyncio.CancelledError), surviving("a loop"):
        raise asyncio.CancelledError


async def test_a_task_that_nobody_awaits_does_not_fail_in_silence() -> None:
    tasks = Tasks()
    with capture_logs() as lines:
        await asyncio.wait([tasks.start(fails())])
        await asyncio.sleep(0)
    assert [(line["event"], line["part"]) for line in lines] == [("background.bug", "fails")]


async def test_the_error_of_a_task_is_logged_with_its_job() -> None:
    seen: list[Subject | None] = []

    async def works_on_a_job() -> None:
        about.set(SUBJECT)
        raise ValueError

    def note(_logger: object, _method: str, event: EventDict) -> EventDict:
        seen.append(about.get())
        raise DropEvent

    tasks = Tasks()
    before = get_config()["processors"]
    configure(processors=[note])
    try:
        await asyncio.wait([tasks.start(works_on_a_job())])
        await asyncio.sleep(0)
    finally:
        configure(processors=before)
    assert seen == [SUBJECT]


async def test_a_task_that_is_ended_before_it_has_begun_is_no_error() -> None:
    tasks = Tasks()
    with capture_logs() as lines:
        running = tasks.start(fails())
        await tasks.end()
    assert running.cancelled()
    assert lines == []


async def test_tasks_that_still_run_are_ended() -> None:
    tasks = Tasks()
    running = tasks.start(for_ever())
    await asyncio.sleep(0)
    await tasks.end()
    assert running.cancelled()


async def test_a_cancellation_that_is_lost_is_repeated() -> None:
    lost = asyncio.Event()

    async def loses_the_first() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(loses_the_first())
    await asyncio.sleep(0)
    await end([task])
    assert lost.is_set()
    assert task.cancelled()


async def test_whoever_ends_others_and_is_ended_does_that_first() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def takes_its_time() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            begun.set()
            while not may_end.is_set():
                with suppress(asyncio.CancelledError):
                    await may_end.wait()

    slow = asyncio.create_task(takes_its_time())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end([slow]))
    await begun.wait()
    ending.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert slow.done()


async def test_a_block_ends_with_the_error_of_its_task_though_it_loses_a_cancellation() -> None:
    async def fails() -> None:
        raise ValueError("refused")

    async def block_of_it() -> None:
        async with ended_by_failure_of(asyncio.create_task(fails())):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="refused"):
        await block_of_it()
    block = asyncio.current_task()
    assert block is not None
    assert block.cancelling() == 0


async def test_a_block_whose_task_succeeds_goes_on_and_can_be_cancelled() -> None:
    async def block() -> None:
        async with ended_by_failure_of(asyncio.create_task(asyncio.sleep(0))):
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    running = asyncio.create_task(block())
    await begun.wait()
    await asyncio.sleep(0)
    assert not running.done()
    await end([running])
    assert running.cancelled()
