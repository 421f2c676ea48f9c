"""How a connection begins: our name, the login, and what is said if a relay wants neither."""

import re

import pytest

from services.mailer.smtp.dialogue import Phase
from services.mailer.smtp.opening import NotOpened, RelayUrl, host_name, open_dialogue
from tests.scripted_relay import ScriptedRelay, scripted

LOGIN = "250-relay.test\r\n250 AUTH PLAIN LOGIN"


async def opened(relay: ScriptedRelay, *, login: str = "", helo: str | None = None) -> None:
    async with scripted(relay):
        url = RelayUrl.parse(f"smtp://{login}127.0.0.1:{relay.port}?tls=off")
        dialogue = await open_dialogue(url, helo, 30.0)
        await dialogue.quit()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("smtp://a.test", 25),
        ("smtps://a.test", 465),
        ("smtp://a.test?tls=required", 587),
        ("smtp://a.test:2525", 2525),
    ],
)
def test_each_kind_of_relay_has_its_port(url: str, port: int) -> None:
    assert RelayUrl.parse(url).name == f"a.test:{port}"


async def test_the_name_is_the_one_that_was_set() -> None:
    relay = ScriptedRelay()
    await opened(relay, helo="mail.harbour.test")
    assert relay.heard == ["EHLO mail.harbour.test", "QUIT"]


async def test_without_a_setting_the_name_is_full_or_an_address() -> None:
    relay = ScriptedRelay()
    await opened(relay)
    assert relay.heard[0] == f"EHLO {host_name() or '[127.0.0.1]'}"


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain", "box", "1.0.0.127.in-addr.arpa"])
async def test_a_host_without_a_full_name_gives_its_address(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    host_name.cache_clear()
    monkeypatch.setattr("socket.getfqdn", lambda: name)
    relay = ScriptedRelay()
    await opened(relay)
    host_name.cache_clear()
    assert re.fullmatch(r"EHLO \[127\.0\.0\.1\]", relay.heard[0])


async def test_it_logs_in() -> None:
    relay = ScriptedRelay({"EHLO": LOGIN})
    await opened(relay, login="ada:secret@")
    assert [command.split(" ")[:2] for command in relay.heard[1:]] == [["AUTH", "PLAIN"], ["QUIT"]]


async def test_a_password_that_is_refused_is_tried_once() -> None:
    relay = ScriptedRelay({"EHLO": LOGIN, "AUTH": "535 5.7.8 authentication failed"})
    with pytest.raises(NotOpened) as failed:
        await opened(relay, login="ada:secret@")
    reply = failed.value.reply
    assert (reply.phase, reply.code, reply.text) == (Phase.AUTH, 535, "5.7.8 authentication failed")
    assert failed.value.is_final
    assert relay.count("AUTH") == 1


async def test_a_mechanism_that_does_not_work_gives_way_to_the_next() -> None:
    relay = ScriptedRelay({"EHLO": "250-relay.test\r\n250 AUTH CRAM-MD5 PLAIN"})
    relay.answer = lambda command: "504 5.5.4 not that one" if "CRAM" in command else None
    await opened(relay, login="ada:secret@")
    assert relay.count("AUTH") == 2


@pytest.mark.parametrize(
    ("answers", "phase", "code", "is_final"),
    [
        ({"greeting": "554 5.7.1 blocked"}, Phase.GREETING, 554, True),
        ({"greeting": "421 4.7.0 too many"}, Phase.GREETING, 421, False),
        ({"EHLO": "504 5.5.2 full name, please", "HELO": "504 5.5.2 full name, please"}, Phase.EHLO, 504, True),
        ({"EHLO": LOGIN, "AUTH": "454 4.7.0 later"}, Phase.AUTH, 454, False),
        ({"EHLO": "250 relay.test"}, Phase.AUTH, None, True),
    ],
)
async def test_a_failure_says_at_which_step_and_whether_it_may_pass(
    answers: dict[str, str], phase: Phase, code: int | None, is_final: bool
) -> None:
    with pytest.raises(NotOpened) as failed:
        await opened(ScriptedRelay(answers), login="ada:secret@")
    reply = failed.value.reply
    assert (reply.phase, reply.code, failed.value.is_final) == (phase, code, is_final)


async def test_a_relay_that_is_not_there_may_come_back() -> None:
    relay = ScriptedRelay()
    async with scripted(relay):
        pass
    with pytest.raises(NotOpened) as failed:
        await open_dialogue(RelayUrl.parse(f"smtp://127.0.0.1:{relay.port}"), None, 30.0)
    assert (failed.value.reply.phase, failed.value.is_final) == (Phase.CONNECT, False)
    assert failed.value.reply.text == "it refuses the connection"
