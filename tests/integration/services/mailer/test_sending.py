"""Every recipient of every letter is accounted for, whatever the relay does."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from deploy.local.test_servers import free_port
from libs.common.contracts.mail import StoredLetter
from libs.common.db import Database
from libs.common.ledger import job_actions
from services.mailer import handler, letters
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay, relaying

PLAIN = {"subject": "Tide table", "text": "High water at six.\n.hidden dot\n"}


def to(*names: str, domain: str = "example.test") -> list[dict[str, object]]:
    return [{"to": f"{name}@{domain}", "variables": {"name": name}} for name in names]


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


async def test_a_relay_that_misbehaves(mailer: Mailer, relay: Relay) -> None:
    """Statuses are right, nobody is lost, and the others are not held up."""
    await mailer.configured(mail_timeout_s=5.0)
    bad = ["450-a", "550-b", "421-c", "450end-d", "550end-e", "dropdata-f", "dropend-g"]
    hanging = [f"hang-{number}" for number in range(4)]
    good = [f"good-{number}" for number in range(300)]
    job = await mailer.accept(
        letter=PLAIN, recipients=[*to(*hanging, domain="slow.test"), *to(*bad), *to(*good, domain="fast.test")]
    )
    begun = time.monotonic()
    await mailer.work()
    states = await mailer.states(job)
    assert {name: states[name] for name in bad} == {
        "450-a": "deferred",
        "550-b": "bounced",
        "421-c": "deferred",
        "450end-d": "deferred",
        "550end-e": "bounced",
        "dropdata-f": "deferred",
        "dropend-g": "unknown",
    }
    assert {states[name] for name in hanging} == {"deferred"}
    assert {states[name] for name in good} == {"sent"}
    last_good = max(delivery.at for delivery in relay.deliveries if delivery.recipient.startswith("good"))
    assert last_good - begun < 5.0 or relay.tries.total() < 320, "while some hang the others go out"
    known = await mailer.recipients(job)
    assert (known["550-b@example.test"]["code"], known["550-b@example.test"]["enhanced_code"]) == (550, "5.2.1")
    relay.kind_at = time.monotonic()
    facts = await mailer.finish(job)
    assert facts["result"] == {"recipients": 311, "sent": 308, "bounced": 2, "unknown": 1}
    assert relay.counts() == Counter({f"{n}@example.test": 1 for n in bad if "550" not in n}) + Counter(
        {f"{n}@slow.test": 1 for n in hanging}
    ) + Counter({f"{n}@fast.test": 1 for n in good})
    assert facts["failures"] == 0


async def test_in_doubt_it_is_sent_again_where_the_letter_says_so(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(letter=PLAIN | {"on_unknown": "resend"}, recipients=to("dropend-a"))
    await mailer.work()
    relay.kind_at = time.monotonic()
    await mailer.finish(job)
    known = (await mailer.recipients(job))["dropend-a@example.test"]
    assert (known["state"], known["possible_duplicates"]) == ("sent", 1)
    assert len({delivery.message["Message-ID"] for delivery in relay.deliveries}) == 1
    assert len(relay.deliveries) == 2


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


async def test_who_has_waited_too_long_has_bounced(mailer: Mailer) -> None:
    await mailer.configured(mail_give_up_after_s=3600)
    job = await mailer.accept(letter=PLAIN, recipients=to("450-a"))
    await mailer.work()
    assert await mailer.states(job) == {"450-a": "deferred"}
    await mailer.database.fetch("UPDATE mail.letters SET created_at = created_at - interval '2 h'")
    assert (await mailer.finish(job))["result"] == {"recipients": 1, "bounced": 1}
    assert (await mailer.recipients(job))["450-a@example.test"]["tries"] >= 2


async def test_a_letter_expires(mailer: Mailer) -> None:
    job = await mailer.accept(letter=PLAIN | {"expire_after_s": 3600}, recipients=to("450-a", "b"))
    await mailer.work()
    await mailer.database.fetch("UPDATE mail.letters SET expires_at = now()")
    assert (await mailer.finish(job))["result"] == {"recipients": 2, "cancelled": 1, "sent": 1}


async def test_what_an_earlier_attempt_announced_is_unknown(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "450-c"))
    await mailer.work()
    sql = "UPDATE mail.recipients SET state = 'sending' WHERE letter = $1 AND number = 2"
    await mailer.database.fetch(sql, job.id)
    facts = await mailer.finish(job)
    assert facts["result"] == {"recipients": 3, "sent": 2, "unknown": 1}
    assert relay.counts() == {"a@example.test": 1, "b@example.test": 1}


async def test_a_worker_that_lost_its_job_ends_no_message(mailer: Mailer, relay: Relay) -> None:
    """The fence: another attempt has the recipients by the time that the data could end."""
    job = await mailer.accept(letter=PLAIN, recipients=to("a"))

    def steal(step: str, _recipient: str) -> None:
        if step == "DATA" and not stolen:
            sql = "UPDATE mail.recipients SET attempt = attempt + 1 WHERE letter = $1"
            stolen.append(asyncio.ensure_future(mailer.database.fetch(sql, job.id)))

    stolen: list[asyncio.Future[object]] = []
    relay.at = steal
    marks = mailer.deps.transport.states
    write = marks.write

    async def after_the_theft(mark: object) -> bool:
        await asyncio.gather(*stolen)
        return await write(mark)  # type: ignore[arg-type]

    marks.write = after_the_theft  # type: ignore[assignment]
    await mailer.work()
    assert relay.deliveries == []


async def test_a_cancelled_letter_stops_in_the_middle(mailer: Mailer, relay: Relay) -> None:
    """Whoever was not written to yet is cancelled; the others have what they have."""
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "450-b"))
    await mailer.work()
    await mailer.database.fetch(
        "UPDATE ledger.jobs SET state = 'cancelled', finished_at = now() WHERE id = $1", job.id
    )
    assert await mailer.states(job) == {"a": "sent", "450-b": "cancelled"}


async def test_a_domain_that_hangs_leaves_room_for_other_letters(mailer: Mailer, relay: Relay) -> None:
    """The slow letter came first, and has more recipients than there are connections."""
    await mailer.configured(mail_connections=8)

    async def hanging() -> bool:
        return relay.tries.total() > 0

    await mailer.configured(mail_timeout_s=600)
    slow = await mailer.accept(letter=PLAIN, recipients=to(*(f"hang-{n}" for n in range(40)), domain="slow.test"))
    async with mailer.at_work():
        await until(hanging)
        fast = await mailer.accept(letter=PLAIN, recipients=to(*(f"n{n}" for n in range(40)), domain="fast.test"))
        assert (await mailer.ended(fast))["result"] == {"recipients": 40, "sent": 40}
        known = await mailer.recipients(slow)
        assert {recipient["state"] for recipient in known.values()} == {"queued"}, "they still hang"


async def test_a_cancelled_letter_leaves_its_domain_open_to_others(
    mailer: Mailer, relay: Relay, gateway_database: Database
) -> None:
    """Messages of it are under way and hang, and others wait for room."""
    await mailer.configured(mail_connections=8)

    async def hanging() -> bool:
        return relay.tries.total() == 4

    slow = await mailer.accept(letter=PLAIN, recipients=to(*(f"hang-{n}" for n in range(40))))
    async with mailer.at_work():
        await until(hanging)
        assert await job_actions.cancel(gateway_database, slow.tenant, slow.id)
        assert (await mailer.ended(slow))["state"] == "cancelled"
        next_one = await mailer.accept(tenant="another", letter=PLAIN, recipients=to("a", "b", "c"))
        assert (await mailer.ended(next_one))["result"] == {"recipients": 3, "sent": 3}


@pytest.mark.parametrize("large", ["", "y" * 200_000])
async def test_who_hangs_holds_up_nobody_else_of_the_letter(mailer: Mailer, relay: Relay, large: str) -> None:
    """Also where the messages are so large that they are put together a few at a time."""
    await mailer.configured(mail_timeout_s=600)
    quick = to(*(f"n{n}" for n in range(60)), domain="fast.test")
    letter = {"subject": "Tides", "text": "Dear {{ name }}" + large}
    job = await mailer.accept(letter=letter, recipients=[*to("hang-0", "hang-1", domain="slow.test"), *quick])

    async def all_the_others() -> bool:
        return len(relay.deliveries) == 60

    async with mailer.at_work():
        await until(all_the_others)
        states = await mailer.states(job)
    assert (states["hang-0"], states["hang-1"]) == ("queued", "queued"), "they still hang"


async def test_who_waits_for_a_limit_is_not_forgotten_over_those_who_hang(mailer: Mailer, relay: Relay) -> None:
    await mailer.configured(mail_limits="domain:fast.test=5/s", mail_timeout_s=600)
    slow = to(*(f"hang-{n}" for n in range(60)), domain="slow.test")
    job = await mailer.accept(letter=PLAIN, recipients=[*slow, *to(*"abcdefghijkl", domain="fast.test")])

    async def all_the_others() -> bool:
        return len(relay.deliveries) == 12

    async with mailer.at_work():
        await until(all_the_others)
        states = await mailer.states(job)
    assert {state for name, state in states.items() if name.startswith("hang")} == {"queued"}


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
async def test_nobody_stays_open_when_the_job_has_ended(mailer: Mailer, ended: str) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("450-a", "450-b", "c"))
    await mailer.work()
    await mailer.database.fetch(
        "UPDATE mail.recipients SET state = 'sending' WHERE letter = $1 AND number = 1", job.id
    )
    await mailer.database.fetch(
        "UPDATE ledger.jobs SET state = $2, finished_at = now() WHERE id = $1", job.id, ended
    )
    assert await mailer.states(job) == {"450-a": "cancelled", "450-b": "unknown", "c": "sent"}


async def test_a_large_letter_to_many_goes_out_in_slices(mailer: Mailer, relay: Relay) -> None:
    letter = {"subject": "Tides", "html": f"<p>Dear {{{{ name }}}}</p>{'<p>High water at six.</p>' * 2500}"}
    job = await mailer.accept(letter=letter, recipients=to(*(f"n{number}" for number in range(300))))
    assert (await mailer.finish(job))["result"] == {"recipients": 300, "sent": 300}
    assert set(relay.counts().values()) == {1}


async def test_letters_go_when_their_jobs_have_gone(mailer: Mailer) -> None:
    kept, gone = [await mailer.accept(letter=PLAIN, recipients=to("a")) for _ in range(2)]
    await mailer.work()
    await mailer.database.fetch("UPDATE mail.letters SET created_at = now() - interval '2 hours'")
    await mailer.database.fetch("DELETE FROM ledger.jobs WHERE id = $1", gone.id)
    await letters.forget(mailer.database)
    rows = await mailer.database.fetch("SELECT DISTINCT letter FROM mail.recipients")
    assert [row[0] for row in rows] == [kept.id]


@pytest.mark.parametrize("bad", ["{{ name", "{% for %}", "{{ name.__class__.__mro__ }}", "{{ nobody }}"])
async def test_a_bad_template_is_said_so(mailer: Mailer, bad: str) -> None:
    job = await mailer.accept(letter={"subject": "x", "text": bad}, recipients=to("a"))
    facts = await mailer.finish(job)
    if facts["state"] == "failed":
        assert facts["error"]["code"] == "template_invalid"
    else:
        known = (await mailer.recipients(job))["a@example.test"]
        assert known["state"] == "cancelled"
        assert known["reply"].startswith("template: ")


@pytest.mark.parametrize(
    "endless",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ (9 ** (9 ** 8)) % 7 }}",  # this one while it is read: constants are folded
    ],
)
async def test_a_template_that_runs_away_is_ended(mailer: Mailer, endless: str) -> None:
    await mailer.configured(mail_compose_timeout_s=1.0)
    job = await mailer.accept(letter={"text": endless}, recipients=to("a"))
    facts = await mailer.finish(job)
    assert (facts["state"], facts["error"]["code"]) == ("failed", "composing_too_slow")


async def test_hung_up_on_within_the_data_it_is_sent_again_or_in_doubt(mailer: Mailer, relay: Relay) -> None:
    """It depends on when the news arrives; but what is said is true: nothing did."""
    job = await mailer.accept(letter=PLAIN, recipients=to(*(f"drop-{number}" for number in range(20))))
    await mailer.work()
    states = await mailer.states(job)
    assert set(states.values()) <= {"deferred", "unknown"}
    assert relay.deliveries == []
    relay.kind_at = time.monotonic()
    await mailer.finish(job)
    again = await mailer.states(job)
    assert again == {name: "sent" if state == "deferred" else "unknown" for name, state in states.items()}
    assert set(relay.counts().values()) <= {1}


async def test_a_large_letter_is_hung_up_on_before_its_end(mailer: Mailer, relay: Relay) -> None:
    large = {"subject": "Tides", "text": "x" * 60 + "\n" + "0123456789abcdef\n" * 50_000}
    job = await mailer.accept(letter=large, to=["drop-a@example.test"])
    await mailer.work()
    assert await mailer.states(job) == {"drop-a": "deferred"}


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


async def test_what_is_ready_is_sent_before_the_job_fails(
    mailer: Mailer, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates are filled in two at a time here, and the third of these takes for ever."""
    await mailer.configured(mail_compose_timeout_s=8.0)
    monkeypatch.setattr(handler, "COMPOSED_AT_ONCE_BYTES", 3500)
    text = "{% for a in range(many) %}{% for b in range(many) %}{% endfor %}{% endfor %}Dear {{ name }}"
    names = (("a", 1), ("b", 1), ("c", 99_999))
    job = await mailer.accept(
        letter={"subject": "Tides", "text": text},
        recipients=[{"to": f"{name}@one.test", "variables": {"name": name, "many": n}} for name, n in names],
    )
    facts = await mailer.finish(job)
    assert (facts["state"], facts["error"]["code"]) == ("failed", "composing_too_slow")
    assert await mailer.states(job) == {"a": "sent", "b": "sent", "c": "cancelled"}
