"""Streams of tickets in a cluster, and those that were made beforehand."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from deploy.local.test_servers import Trio
from libs.common import bus
from libs.common.bus import Bus, stream_of, tickets_subject
from libs.common.config import BusSettings
from libs.common.errors import Unavailable
from libs.common.ledger.jobs import new_id
from tests.nats_cluster import nats_cluster
from tests.polling import until


async def test_tickets_go_on_without_any_one_server_of_the_cluster(tmp_path: Path, queue: str) -> None:
    """More replicas are asked for than the cluster can hold: it holds as many as it has servers."""
    with nats_cluster(tmp_path) as members:
        urls = ",".join(member.server.url for member in members)
        async with bus.connect(
            BusSettings.model_validate({"nats_url": urls, "nats_replicas": 5}), "test"
        ) as found:
            await until(lambda: _created(found, queue))
            information = await _jetstream(found, f"STREAM.INFO.{stream_of(queue)}")
            assert information["config"]["num_replicas"] == len(members)
            leader = int(information["cluster"]["leader"].removeprefix("n"))
            async with found.tickets(queue) as tickets:
                members[leader].stop(signal.SIGKILL)
                ticket = new_id()

                async def arrives() -> bool:
                    with suppress(Unavailable):
                        await found.stream_state(queue)
                        await found.publish_tickets(queue, [ticket])
                    return ticket in await tickets.take(5, wait_s=0.2)

                await until(arrives)


async def test_without_a_cluster_there_is_one_replica(servers: Trio, queue: str) -> None:
    async with bus.connect(
        BusSettings.model_validate({"nats_url": servers.nats.url, "nats_replicas": 3}), "test"
    ) as found:
        await until(lambda: _created(found, queue))
        information = await _jetstream(found, f"STREAM.INFO.{stream_of(queue)}")
        assert information["config"]["num_replicas"] == 1


async def test_a_stream_made_beforehand_is_taken_as_it_is_and_gets_its_consumer(nats_bus: Bus, queue: str) -> None:
    await nats_bus._nats.established.wait()
    name = stream_of(queue)
    made = {"name": name, "subjects": [tickets_subject(queue)], "retention": "interest", "max_msgs": 1_000_000}
    await _jetstream(nats_bus, f"STREAM.CREATE.{name}", made)
    other = {"stream_name": name, "config": {"durable_name": "auditors", "ack_policy": "none"}}
    await _jetstream(nats_bus, f"CONSUMER.DURABLE.CREATE.{name}.auditors", other)
    assert (await nats_bus.stream_state(queue)).depth == 0
    ticket = new_id()
    async with nats_bus.tickets(queue) as tickets:
        await nats_bus.publish_tickets(queue, [ticket])

        async def arrives() -> bool:
            return ticket in await tickets.take(1, wait_s=0.2)

        await until(arrives)
    assert (await _jetstream(nats_bus, f"STREAM.INFO.{name}"))["config"]["max_msgs"] == 1_000_000


async def test_the_age_of_the_oldest_ticket_is_by_the_clock_of_the_server(nats_bus: Bus, queue: str) -> None:
    await nats_bus._nats.established.wait()
    await nats_bus.create_stream(queue)
    await nats_bus.publish_tickets(queue, [new_id()])
    ages: list[float] = []

    async def grows() -> bool:
        age_s = (await nats_bus.stream_state(queue)).oldest_age_s
        ages.extend([] if age_s is None else [age_s])
        return len(ages) > 1 and ages[-1] > ages[0]

    await until(grows)
    assert ages[0] >= 0


async def _created(found: Bus, queue: str) -> bool:
    with suppress(Unavailable):
        await found.create_stream(queue)
        return True
    return False


async def _jetstream(found: Bus, api: str, request: object = None) -> dict[str, Any]:
    """What JetStream answers, or has refused."""
    reply = await found._nats.ask(f"$JS.API.{api}", orjson.dumps(request) if request else b"", within_s=60)
    answer: dict[str, Any] = orjson.loads(reply.data)
    assert "error" not in answer, answer
    return answer
