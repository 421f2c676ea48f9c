"""A letter from the job to the recipients: filled in for each, in parts, in slices, or refused with a reason."""

from collections.abc import Iterator, Sequence

import pytest

from libs.common.contracts.mail import StoredLetter
from services.mailer import handler, letters
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.relay import Relay


async def test_one_letter_reaches_all_of_its_recipients(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(
        letter=PLAIN | {"headers": {"X-Port": "Dubrovnik"}, "reply_to": "desk@argosy.test"},
        to=["Ada Lovelace <ada@one.test>"],
        cc=["jürgen@bücher.test"],
        bcc=["hidden@two.test"],
    )
    facts = await mailer.finish(job)
    assert facts["result"] == {"recipients": 3, "sent": 3}
    assert relay.counts() == {"ada@one.test": 1, "jürgen@xn--bcher-kva.test": 1, "hidden@two.test": 1}
    for delivery in relay.deliveries:
        message = delivery.message
        assert message["From"] == "Harbour <office@argosy.test>"
        assert message["To"] == "Ada Lovelace <ada@one.test>"
        assert "hidden@" not in str(message)
        assert (message["X-Port"], message["Reply-To"]) == ("Dubrovnik", "desk@argosy.test")
        assert (
            message.get_content() == PLAIN["text"].replace("\n", "\r\n") or message.get_content() == PLAIN["text"]
        )
    assert len({delivery.message["Message-ID"] for delivery in relay.deliveries}) == 1


async def test_a_template_is_filled_in_for_each(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(
        letter={
            "subject": "Ahoy {{ name }}",
            "text": "Dear {{ name }}: {{ unsubscribe_url }}",
            "html": "<style>p {color: red}</style><p>Dear {{ name }}</p>",
            "unsubscribe": True,
        },
        recipients=[*to("ada", "grace"), {"to": "b@example.test", "variables": {"name": "<b>"}}],
    )
    await mailer.finish(job)
    found = {delivery.recipient: delivery.message for delivery in relay.deliveries}
    assert len(found) == 3
    ada, bold = found["ada@example.test"], found["b@example.test"]
    assert ada["Subject"] == "Ahoy ada"
    assert "&lt;b&gt;" in bold.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert 'style="color: red' in ada.get_body(("html",)).get_content()  # type: ignore[union-attr]
    link = ada["List-Unsubscribe"].strip("<>")
    assert ada["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert link in ada.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert len({message["Message-ID"] for message in found.values()}) == 3


async def test_many_recipients_are_written_to_in_parts(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to(*(f"n{number}" for number in range(1201))))
    async with mailer.at_work():
        facts = await mailer.ended(job)
    assert facts["children"] == 3
    assert facts["result"] == {"recipients": 1201, "sent": 1201}
    assert set(relay.counts().values()) == {1}
    assert relay.connections < 60, "connections are used again"


async def test_a_large_letter_to_many_goes_out_in_slices(mailer: Mailer, relay: Relay) -> None:
    letter = {"subject": "Tides", "html": f"<p>Dear {{{{ name }}}}</p>{'<p>High water at six.</p>' * 2500}"}
    job = await mailer.accept(letter=letter, recipients=to(*(f"n{number}" for number in range(300))))
    assert (await mailer.finish(job))["result"] == {"recipients": 300, "sent": 300}
    assert set(relay.counts().values()) == {1}


async def test_large_variables_are_filled_in_a_few_at_a_time(
    mailer: Mailer, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And read where the templates run: as objects they can be many times as large."""
    together: list[int] = []

    def slices(head: StoredLetter, rows: Sequence[letters.Row]) -> Iterator[list[letters.Row]]:
        for slice_ in handler_slices(head, rows):
            together.append(len(slice_))
            yield slice_

    handler_slices = handler._slices
    monkeypatch.setattr(handler, "_slices", slices)
    large = [{"to": f"r{n}@one.test", "variables": {"name": n, "x": [{}] * 150_000}} for n in range(10)]
    job = await mailer.accept(
        letter={"subject": "Tides", "text": "{{ name }}: {{ x | length }}"}, recipients=large
    )
    assert (await mailer.finish(job))["result"] == {"recipients": 10, "sent": 10}
    assert together == [4, 4, 2]
    assert {d.message.get_content().strip() for d in relay.deliveries} == {f"{n}: 150000" for n in range(10)}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("{{ name", "template_invalid"),
        ("{% for %}", "template_invalid"),
        ("{{ (9 ** (9 ** 8)) % 7 }}", "composing_too_slow"),  # constants are folded while it is read
        ("{{ name.__class__.__mro__ }}", "nobody_reached"),
        ("{{ nobody }}", "nobody_reached"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "nobody_reached"),
    ],
)
async def test_a_bad_template_is_said_so(mailer: Mailer, bad: str, code: str) -> None:
    await mailer.configured(mail_compose_timeout_s=1.0)
    job = await mailer.accept(letter={"subject": "x", "text": bad}, recipients=to("a"))
    facts = await mailer.finish(job)
    assert (facts["state"], facts["error"]["code"]) == ("failed", code)
    if code == "nobody_reached":
        assert facts["error"]["message"] == "Nobody was reached. Of 1 recipients: 1 cancelled."
        known = (await mailer.recipients(job))["a@example.test"]
        assert known["state"] == "cancelled"
        assert known["reply"].startswith("template: ")


async def test_one_slow_recipient_of_many_costs_the_others_nothing(mailer: Mailer, relay: Relay) -> None:
    await mailer.configured(mail_compose_timeout_s=1.0)
    text = "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}Ahoy"
    many = [{"to": f"r{place}@one.test", "variables": {"n": 1}} for place in range(600)]
    many[250] = {"to": "slow@one.test", "variables": {"n": 99_999}}
    job = await mailer.accept(letter={"subject": "Tides", "text": text}, recipients=many)
    async with mailer.at_work():
        assert (await mailer.ended(job))["result"] == {"recipients": 600, "sent": 599, "cancelled": 1}
    assert (await mailer.recipients(job))["slow@one.test"]["reply"] == "template: took longer than 1 s"
    assert set(relay.counts().values()) == {1}
