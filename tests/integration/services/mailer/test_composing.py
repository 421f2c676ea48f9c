"""Composing in the sandbox: who makes it fail gets no letter and costs the others nothing, nor for ever."""

import os
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.contracts.mail import AddressedRecipient, Mailbox, StoredLetter
from libs.common.ledger.jobs import new_id
from services.mailer import composing, letters
from services.mailer.compose import content
from services.mailer.compose.content import Addressee, Composed
from services.mailer.composing import ALL_TOO_SLOW, Composer
from services.mailer.refusals import ComposingCrashed, ComposingTooSlow
from tests.mailing import TENANT, Mailer

LOOP = "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}Ahoy"
STUCK = "{{ (9 ** (9 ** n)) % 7 }}"
"""One operation of the interpreter, which nothing within the process can end."""
HUNGRY = "{{ (range(1000) | list * (n * 1000)) | length }}"
FLOOD = "{% set wave = '\N{WATER WAVE}' * n %}{{ wave }}"
ENDLESS = 99_999


def stored(text: str, html: str | None = None) -> StoredLetter:
    return StoredLetter.model_validate(
        {"letter": {"from": "office@argosy.test", "text": text, "html": html}, "is_template": True}
    )


def addressees(*numbers: int) -> list[Addressee]:
    """A recipient for each, who has it as `n`."""
    return [
        Addressee(place, Mailbox("", f"r{place}@one.test"), f'{{"n": {n}}}', f"<{place}@argosy.test>")
        for place, n in enumerate(numbers)
    ]


async def composer(
    mailer: Mailer, letter: StoredLetter, recipients: int, since: datetime | None = None
) -> Composer:
    letter_id = new_id()
    rows = [AddressedRecipient(address=f"r{number}@one.test") for number in range(recipients)]
    await letters.store(mailer.database, letter_id, TENANT, letter, rows, [0.0] * recipients)
    return made(mailer, letter_id, since)


def made(mailer: Mailer, letter_id: UUID, since: datetime | None) -> Composer:
    settings = mailer.deps.settings
    limits = settings.mail_compose_timeout_s, settings.mail_compose_memory_mb
    return Composer(mailer.deps.sandbox, *limits, mailer.database, letter_id, since)


async def problems(composer: Composer, letter: StoredLetter, wanted: Sequence[Addressee]) -> list[str | None]:
    """Of each, in order; None: there is a message."""
    found = [one for some in [some async for some in composer.compose(letter, wanted, "today")] for one in some]
    assert [one.number for one in found] == [one.number for one in wanted]
    assert all(bool(one.content) is (one.problem is None) for one in found)
    return [one.problem for one in found]


@pytest.mark.parametrize(
    ("text", "html", "bad", "problem"),
    [
        (LOOP, None, ENDLESS, "took longer than 1 s"),
        (STUCK, None, 9, "took longer than 1 s"),
        (HUNGRY, None, 1000, "needs more than 1024 MB of memory"),
        (FLOOD, FLOOD, 1_999_000, "the process that composed it died"),  # its result is too large to be taken
    ],
)
async def test_one_recipient_costs_the_others_nothing(
    mailer: Mailer, text: str, html: str | None, bad: int, problem: str
) -> None:
    await mailer.configured(mail_compose_timeout_s=1.0 if "longer" in problem else 20.0)
    letter = stored(text, html)
    composing_ = await composer(mailer, letter, 5)
    assert await problems(composing_, letter, addressees(1, bad, 1, 2, bad)) == [
        None,
        problem,
        None,
        None,
        problem,
    ]


async def test_what_all_recipients_need_together_is_limited_and_begins_anew_with_a_retry(
    mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing, "TOGETHER_TIMES", 2)
    await mailer.configured(mail_compose_timeout_s=1.0)
    letter, slow = stored(LOOP), "took longer than 1 s"
    first = await composer(mailer, letter, 5)
    assert await problems(first, letter, addressees(1, *[ENDLESS] * 4)) == [None, slow, slow, *[ALL_TOO_SLOW] * 2]
    another_part = made(mailer, first.letter_id, None)
    assert await problems(another_part, letter, addressees(ENDLESS, 1)) == [slow, ALL_TOO_SLOW]
    retried = made(mailer, first.letter_id, datetime.now(UTC))
    assert await problems(retried, letter, addressees(ENDLESS, 1)) == [slow, None]


async def test_a_letter_that_cannot_be_prepared_is_no_recipients_fault(mailer: Mailer) -> None:
    await mailer.configured(mail_compose_timeout_s=1.0)
    letter = stored("{{ (9 ** (9 ** 9)) % 7 }}")  # constants are folded when the template is read
    composing_ = await composer(mailer, letter, 2)
    with pytest.raises(ComposingTooSlow):
        await problems(composing_, letter, addressees(1, 2))


def compose_or_die(letter: StoredLetter, wanted: Sequence[Addressee], date: str) -> Iterator[Composed]:
    for one in wanted:
        if "9" in one.variables:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from content.compose(letter, [one], date)


def check_or_die(_letter: StoredLetter) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_a_process_that_dies_is_tried_once_more_before_a_recipient_is_blamed(
    mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing, "compose", compose_or_die)
    letter = stored("Ahoy {{ n }}")
    died = "the process that composed it died"
    composing_ = await composer(mailer, letter, 3)
    assert await problems(composing_, letter, addressees(1, 9, 2)) == [None, died, None]
    monkeypatch.setattr(composing, "check", check_or_die)
    with pytest.raises(ComposingCrashed):  # nothing can be run: the job is tried again
        await problems(composing_, letter, addressees(9))
