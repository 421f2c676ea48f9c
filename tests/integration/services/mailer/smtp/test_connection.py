"""Connections to relays: shared, used again, given up; relays that are down, and the next one."""

import asyncio

import pytest

from deploy.local.test_servers import free_port
from libs.common import metrics
from services.mailer.smtp import connection as module
from services.mailer.smtp.connection import (
    MESSAGES_PER_CONNECTION,
    MESSAGES_PER_LEASE,
    Connection,
    ConnectionLease,
    Relays,
    Unreachable,
)
from services.mailer.smtp.connection import Relay as RelayPool
from services.mailer.smtp.dialogue import Envelope
from services.mailer.smtp.holds import BRIEF, LONG
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay, relaying
from tests.scripted_relay import ScriptedRelay, scripted


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


def time_has_passed(pool: Relays) -> None:
    """As if all holds were over."""
    for host in pool._relays:
        host._opening._until = host._sending._until = 0.0


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
        with pytest.raises(Unreachable) as again:
            await pool.acquire()
        assert again.value.after_s < away.value.after_s, "it was not tried again"
        time_has_passed(pool)
    first_s = BRIEF.first_s
    assert 0 < waits[0] <= first_s < waits[1] <= 2 * first_s < waits[2] <= 4 * first_s


async def test_a_failure_takes_no_connection_away() -> None:
    port = free_port()
    pool = relays(f"smtp://127.0.0.1:{port}", connections=1)
    for _ in range(3):
        with pytest.raises(Unreachable):
            await pool.acquire()
    time_has_passed(pool)
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


async def test_fewer_connections_than_wished_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that gets none waits for one of those that work, and nobody is sent away."""
    async with scripted(ScriptedRelay(connections_at_most=5)) as script:
        pool = relays(f"smtp://127.0.0.1:{script.port}", connections=30)

        async def send_ten() -> None:
            for number in range(10):
                host, connection = await pool.acquire()
                assert (await connection.send(envelope(number), no_more)).accepted
                await host.release(connection)

        await asyncio.gather(*(send_ten() for _ in range(30)))
        assert (script.count("."), script.most_open) == (300, 5)
        assert script.refused <= 5
        await pool.close()


async def test_a_relay_with_no_place_at_all_sends_everybody_away_until_it_has_one() -> None:
    async with scripted(ScriptedRelay(connections_at_most=0)) as script:
        pool = relays(f"smtp://127.0.0.1:{script.port}", connections=30)
        failures = await asyncio.gather(*(pool.acquire() for _ in range(30)), return_exceptions=True)
        assert {type(failure) for failure in failures} == {Unreachable}
        assert script.refused == 1
        script.connections_at_most = 1
        time_has_passed(pool)
        host, connection = await pool.acquire()
        await host.release(connection)
        await pool.close()


async def test_a_sender_that_waits_is_told_when_the_last_connection_is_lost() -> None:
    async with scripted(ScriptedRelay(connections_at_most=1)) as script:
        pool = relays(f"smtp://127.0.0.1:{script.port}", connections=30)
        host, connection = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await until(lambda: asyncio.sleep(0, script.refused == 1))
        script.connections_at_most = 0
        script.answers["MAIL"] = "421 4.3.2 going down"
        await connection.send(envelope(), no_more)
        await host.release(connection)
        with pytest.raises(Unreachable):
            await waiting
        await pool.close()


async def test_too_much_mail_pauses_the_relay_and_one_message_shows_whether_it_is_over() -> None:
    async with scripted(ScriptedRelay()) as script:
        pool = relays(f"smtp://127.0.0.1:{script.port}", connections=30)
        leases = [ConnectionLease(pool) for _ in range(5)]
        connections = [await lease.connection() for lease in leases]
        script.answers["MAIL"] = "450 4.7.1 too much mail from you"
        for connection in connections:
            assert (await connection.send(envelope(), no_more)).code == 450
        assert 0 < pool.held_s <= BRIEF.first_s, "those under way count once"
        for lease in leases:
            with pytest.raises(Unreachable, match="too much mail"):
                await lease.connection()
        assert not any(lease.is_held for lease in leases)
        script.answers = {}
        time_has_passed(pool)
        first = await leases[0].connection()
        others = [asyncio.create_task(lease.connection()) for lease in leases[1:]]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(other.done() for other in others)
        assert (await first.send(envelope(), no_more)).accepted
        await asyncio.gather(*others)
        for lease in leases:
            await lease.release()
        await pool.close()


async def test_a_connection_that_has_had_enough_messages_is_no_reason_to_pause() -> None:
    async with scripted(ScriptedRelay()) as script:
        pool = relays(f"smtp://127.0.0.1:{script.port}")
        host, connection = await pool.acquire()
        assert (await connection.send(envelope(), no_more)).accepted
        script.answers["MAIL"] = "421 4.7.0 enough over this connection"
        assert (await connection.send(envelope(), no_more)).code == 421
        assert pool.held_s <= 0
        await host.release(connection)
        script.answers = {}
        host, other = await pool.acquire()
        assert other is not connection
        await host.release(other)
        await pool.close()


async def test_a_login_that_is_refused_is_tried_once_and_then_seldom() -> None:
    script = ScriptedRelay({"EHLO": "250-relay.test\r\n250 AUTH PLAIN LOGIN", "AUTH": "535 5.7.8 no"})
    async with scripted(script):
        pool = relays(f"smtp://ada:secret@127.0.0.1:{script.port}?tls=off", connections=30)
        refusals = metrics.mail_relay_refusals.labels(f"127.0.0.1:{script.port}", "AUTH", "535")
        failures = await asyncio.gather(*(pool.acquire() for _ in range(30)), return_exceptions=True)
        assert {str(failure) for failure in failures} == {f"127.0.0.1:{script.port}: 5.7.8 no"}
        assert (script.count("AUTH"), refusals._value.get()) == (1, 1)
        assert BRIEF.most_s < pool.held_s <= LONG.first_s
        time_has_passed(pool)
        del script.answers["AUTH"]
        host, connection = await pool.acquire()
        await host.release(connection)
        await pool.close()


async def test_the_second_relay_takes_over_from_one_that_is_paused() -> None:
    async with (
        scripted(ScriptedRelay({"MAIL": "451 4.3.0 not now"})) as first,
        scripted(ScriptedRelay()) as second,
    ):
        pool = relays(f"smtp://127.0.0.1:{first.port}", f"smtp://127.0.0.1:{second.port}")
        lease = ConnectionLease(pool)
        assert (await (await lease.connection()).send(envelope(), no_more)).code == 451
        assert pool.held_s <= 0
        assert (await (await lease.connection()).send(envelope(), no_more)).accepted
        await lease.release()
        await pool.close()


async def test_a_connection_says_goodbye_when_it_has_been_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(ScriptedRelay()) as script:
        pool = relays(f"smtp://127.0.0.1:{script.port}")
        async with pool.sweeping():
            held: list[tuple[RelayPool, Connection]] = [await pool.acquire() for _ in range(3)]
            for host, connection in held:
                await host.release(connection)
            monkeypatch.setattr(module, "IDLE_AT_MOST_S", 0.0)
            await until(lambda: asyncio.sleep(0, script.open == 0))
        assert script.count("QUIT") == 3
