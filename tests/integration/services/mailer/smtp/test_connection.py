"""Connections to relays: shared, used again, given up; relays that are down, and the next one."""

import asyncio

import pytest

from deploy.local.test_servers import free_port
from services.mailer.smtp import connection as module
from services.mailer.smtp.connection import (
    MESSAGES_PER_CONNECTION,
    MESSAGES_PER_LEASE,
    RECONNECT_S,
    ConnectionLease,
    Relays,
    Unreachable,
)
from services.mailer.smtp.dialogue import Envelope
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.relay import Relay, relaying


async def test_a_relay_that_is_down_loses_nothing_and_costs_nobody_a_try(mailer: Mailer) -> None:
    port = free_port()
    await mailer.configured(mail_relays=f"smtp://127.0.0.1:{port}")
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "c"))
    await mailer.work()
    assert set((await mailer.states(job)).values()) == {"queued"}
    async with relaying(Relay(), port=port) as relay:
        await mailer.finish(job)
    assert set(relay.counts().values()) == {1}
    assert {known["tries"] for known in (await mailer.recipients(job)).values()} == {1}


async def test_the_second_relay_takes_over(mailer: Mailer, relay: Relay) -> None:
    await mailer.configured(mail_relays=f"smtp://127.0.0.1:{free_port()} smtp://127.0.0.1:{relay.port}")
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "c"))
    assert (await mailer.finish(job))["result"] == {"recipients": 3, "sent": 3}


async def no_more() -> None:
    """Nothing to be done before the end."""


def relays(*urls: str, connections: int = 5) -> Relays:
    return Relays(urls, connections=connections, timeout_s=30)


def envelope(number: int = 0) -> Envelope:
    return Envelope("office@argosy.test", f"r{number}@example.test", b"Subject: x\r\n\r\nx\r\n")


@pytest.mark.parametrize("url", ["relay.test:25", "http://relay.test", "smtp://", "smtps:relay.test"])
def test_what_is_no_relay_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="MAIL_RELAYS"):
        relays(url)
    with pytest.raises(ValueError, match="MAIL_RELAYS"):
        relays()


async def test_a_connection_is_used_again_for_so_many_messages(relay: Relay) -> None:
    pool = relays(f"smtp://127.0.0.1:{relay.port}")
    for number in range(MESSAGES_PER_CONNECTION + 1):
        host, connection = await pool.acquire()
        assert (await connection.send(envelope(number), no_more)).accepted
        await host.release(connection)
    await pool.close()
    assert relay.connections == 2
    assert len(relay.deliveries) == MESSAGES_PER_CONNECTION + 1


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = relays(f"smtp://127.0.0.1:{relay.port}")
    host, connection = await pool.acquire()
    await host.release(connection)
    monkeypatch.setattr(module, "IDLE_AT_MOST_S", -1.0)
    host, other = await pool.acquire()
    assert other is not connection
    await host.release(other)
    await pool.close()


async def test_no_more_connections_than_that_and_who_waits_gets_the_next(relay: Relay) -> None:
    pool = relays(f"smtp://127.0.0.1:{relay.port}", connections=2)
    held = [await pool.acquire() for _ in range(2)]
    waiting = asyncio.create_task(pool.acquire())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    host, connection = held[0]
    await host.release(connection)
    assert (await waiting)[1] is connection
    for host, connection in (held[1], await waiting):
        await host.release(connection)
    await pool.close()
    assert relay.connections == 2


async def test_a_relay_that_cannot_be_reached_is_left_alone_for_longer_each_time() -> None:
    pool = relays(f"smtp://127.0.0.1:{free_port()}")
    waits = []
    for _ in range(3):
        with pytest.raises(Unreachable) as away:
            await pool.acquire()
        waits.append(away.value.after_s)
        with pytest.raises(Unreachable, match="a moment ago"):
            await pool.acquire()
        for host in pool._relays:
            host._reconnect_at = 0.0  # as if that had passed
    assert 0 < waits[0] <= RECONNECT_S < waits[1] <= 2 * RECONNECT_S < waits[2] <= 4 * RECONNECT_S


async def test_a_failure_takes_no_connection_away() -> None:
    port = free_port()
    pool = relays(f"smtp://127.0.0.1:{port}", connections=1)
    for _ in range(3):
        with pytest.raises(Unreachable):
            await pool.acquire()
    for host in pool._relays:
        host._reconnect_at = 0.0
    async with relaying(Relay(), port=port):
        host, connection = await pool.acquire()
        await host.release(connection)
        await pool.close()


async def test_a_sender_keeps_its_connection_for_a_turn(relay: Relay) -> None:
    """Then whoever waits for one has it first."""
    pool = relays(f"smtp://127.0.0.1:{relay.port}", connections=1)
    mine, theirs = ConnectionLease(pool), ConnectionLease(pool)
    first = await mine.connection()
    other = asyncio.create_task(theirs.connection())
    for _ in range(MESSAGES_PER_LEASE - 1):
        assert await mine.connection() is first
        assert not other.done()
    again = asyncio.create_task(mine.connection())
    await other
    assert (theirs.is_held, again.done()) == (True, False)
    await theirs.release()
    await again
    await mine.release()
    assert (mine.is_held, theirs.is_held) == (False, False)
    await pool.close()


async def test_tls_that_is_insisted_on_and_not_offered_is_a_relay_that_cannot_be_reached(relay: Relay) -> None:
    pool = relays(f"smtp://127.0.0.1:{relay.port}?tls=required")
    with pytest.raises(Unreachable):
        await pool.acquire()
    await pool.close()


async def test_a_relay_that_knows_only_the_oldest_greeting_is_greeted_so() -> None:
    heard = []

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 old.test\r\n")
        while line := await reader.readline():
            heard.append(line.split()[0])
            writer.write(b"250 old.test\r\n" if line.startswith((b"HELO", b"QUIT")) else b"500 what?\r\n")
        writer.close()

    async with await asyncio.start_server(old, "127.0.0.1", 0) as server:
        pool = relays(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        host, connection = await pool.acquire()
        await host.release(connection)
        await pool.close()
    assert heard == [b"EHLO", b"HELO", b"QUIT"]
