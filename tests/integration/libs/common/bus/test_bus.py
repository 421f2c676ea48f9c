"""The conveyor on a real NATS server: in order, by credit, and laid anew when it is gone."""

import asyncio
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from deploy.local import servers
from deploy.local.test_servers import Trio, free_port, running
from libs.common import background, bus
from libs.common.bus import Bus
from libs.common.config import BusSettings
from libs.common.errors import Unavailable
from libs.common.ledger.jobs import new_id
from tests.network import Network
from tests.polling import PATIENCE_S, until


async def test_tickets_arrive_once_in_order_and_leave_the_conveyor(nats_bus: Bus, queue: str) -> None:
    await _connected(nats_bus)
    await nats_bus.create_stream(queue)
    ids = [new_id() for _ in range(250)]
    assert await nats_bus.publish_tickets(queue, ids)

    async def all_there() -> bool:
        return (await nats_bus.stream_state(queue)).depth == 250

    await until(all_there)
    async with nats_bus.tickets(queue) as tickets:
        taken: list[UUID] = []
        while len(taken) < 250:
            taken += await tickets.take(100, wait_s=1)
        assert taken == ids
        assert await tickets.take(100, wait_s=0.01) == []
    state = await nats_bus.stream_state(queue)
    assert (state.depth, state.taken, state.oldest_age_s) == (0, 250, None)


async def test_no_more_tickets_are_taken_than_there_is_room_for(nats_bus: Bus, queue: str) -> None:
    await _connected(nats_bus)
    await nats_bus.create_stream(queue)
    await nats_bus.publish_tickets(queue, [new_id() for _ in range(10)])
    async with nats_bus.tickets(queue) as tickets:
        taken: list[UUID] = []
        while len(taken) < 3:
            taken += await tickets.take(3 - len(taken), wait_s=1)
        assert len(taken) == 3

        async def the_rest_stays() -> bool:
            return (await nats_bus.stream_state(queue)).depth == 7

        await until(the_rest_stays)


async def test_two_workers_share_a_queue(nats_bus: Bus, queue: str) -> None:
    await _connected(nats_bus)
    await nats_bus.create_stream(queue)
    ids = [new_id() for _ in range(40)]
    async with nats_bus.tickets(queue) as one, nats_bus.tickets(queue) as other:
        await nats_bus.publish_tickets(queue, ids)
        taken: list[UUID] = []
        while len(taken) < 40:
            taken += await one.take(5, wait_s=0.05)
            taken += await other.take(5, wait_s=0.05)
    assert sorted(taken) == sorted(ids)


async def test_looking_at_a_conveyor_that_is_gone_lays_it_anew(nats_bus: Bus, queue: str) -> None:
    await _connected(nats_bus)
    state = await nats_bus.stream_state(queue)
    assert (state.depth, state.taken, state.oldest_age_s) == (0, 0, None)
    await nats_bus.publish_tickets(queue, [new_id()])

    async def there() -> bool:
        state = await nats_bus.stream_state(queue)
        return state.depth == 1 and state.oldest_age_s is not None

    await until(there)


async def test_who_answers_or_listens_hears_what_others_send_from_the_first_line_on(
    nats_bus: Bus, servers: Trio
) -> None:
    """Over a connection of their own: the server has heard of the subscription before the block begins."""

    async def echo(_subject: str, question: bytes) -> bytes:
        return question

    async with bus.connect(BusSettings.model_validate({"nats_url": servers.nats.url}), "other") as other:
        await _connected(other)
        for turn in range(100):
            subject, word, heard = f"echo.{turn}", b"%d" % turn, asyncio.Queue[bytes]()
            async with nats_bus.serving(subject, echo):
                assert await other.request(subject, word, within_s=10) == word
            async with nats_bus.listening(subject, heard.put_nowait):
                await other.publish(subject, word)
                assert await asyncio.wait_for(heard.get(), 10) == word


async def test_whoever_is_cancelled_as_the_answer_comes_ends(nats_bus: Bus) -> None:
    async def echo(_subject: str, question: bytes) -> bytes:
        return question

    async with nats_bus.serving("slow.echo", echo):
        asking = asyncio.create_task(nats_bus.request("slow.echo", b"?", within_s=10))
        waiting = nats_bus._nats._resp_map
        while not waiting:
            await asyncio.sleep(0)
        answer = next(iter(waiting.values()))
        while not answer.done():
            await asyncio.sleep(0)
        assert not asking.done()
        asking.cancel()
        await asyncio.wait({asking})
    assert asking.cancelled()


async def test_questions_end_in_time_though_too_much_is_unsent(servers: Trio) -> None:
    """And the connection can be left."""
    async with Network(servers.nats.url).open() as network, asyncio.timeout(PATIENCE_S):
        settings = BusSettings.model_validate({"nats_url": network.url})
        async with bus.connect(settings, "test") as held_up:
            await _connected(held_up)
            network.hold_up()
            asking = [held_up.request("anybody", bytes(700_000), within_s=2) for _ in range(10)]
            ends = await asyncio.gather(*asking, return_exceptions=True)
            assert {type(end) for end in ends} == {TimeoutError}
            assert not held_up._nats._resp_map
    for subscription in held_up._nats._subs.values():  # nats-py has not come to them
        await background.end([subscription._wait_for_msgs_task] if subscription._wait_for_msgs_task else [])


async def test_without_a_server_tickets_are_lost_and_nobody_waits(queue: str) -> None:
    settings = BusSettings.model_validate({"nats_url": "nats://127.0.0.1:1"})
    async with bus.connect(settings, "test") as absent:
        assert not absent.connected
        assert not await absent.publish_tickets(queue, [new_id()])


async def test_a_worker_goes_on_after_the_server_was_killed_and_wiped(tmp_path: Path, queue: str) -> None:
    port = free_port()
    server = servers.nats(tmp_path, port, "secret")
    with running(server, tmp_path) as process:
        async with bus.connect(BusSettings.model_validate({"nats_url": server.url}), "test") as survivor:
            await _connected(survivor)
            await survivor.create_stream(queue)
            async with survivor.tickets(queue) as tickets:
                assert await tickets.take(5, wait_s=0.05) == []
                _kill(process)
                with running(server, tmp_path):
                    job_id = new_id()

                    async def arrives() -> bool:
                        with suppress(Unavailable):  # until the client has noticed and reconnected
                            await survivor.stream_state(queue)
                            await survivor.publish_tickets(queue, [job_id])
                        return job_id in await tickets.take(5, wait_s=0.2)

                    await until(arrives)


async def test_a_server_that_was_frozen_is_heard_again(tmp_path: Path) -> None:
    """By those who listened before and those who began meanwhile: its late answers break nothing."""
    server = servers.nats(tmp_path, free_port(), "secret")
    settings = BusSettings.model_validate({"nats_url": server.url})
    before, after = asyncio.Event(), asyncio.Event()
    with running(server, tmp_path) as process:
        async with bus.connect(settings, "test") as bus_, bus.connect(settings, "other") as other:
            await _connected(bus_)
            async with bus_.listening("before", lambda _: before.set()):
                process.send_signal(signal.SIGSTOP)
                asyncio.get_running_loop().call_later(3, process.send_signal, signal.SIGCONT)
                async with bus_.listening("after", lambda _: after.set()):

                    async def both_heard() -> bool:
                        await other.publish("before", b"")
                        await other.publish("after", b"")
                        return before.is_set() and after.is_set()

                    await until(both_heard)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


async def _connected(connection: Bus) -> None:
    async def is_connected() -> bool:
        await asyncio.sleep(0)
        return connection.connected

    await until(is_connected)
