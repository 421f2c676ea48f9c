"""Signatures that somebody else's verifier accepts when they have arrived."""

from pathlib import Path

import pytest

from tests.dkim_verifier import Records, make_keys, verified
from tests.mailing import Mailer
from tests.relay import Relay


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Records]:
    folder = tmp_path_factory.mktemp("dkim")
    return folder, make_keys(folder)


async def test_both_signatures_hold_at_the_other_end(
    mailer: Mailer, relay: Relay, keys: tuple[Path, Records]
) -> None:
    folder, records = keys
    await mailer.configured(mail_dkim_keys=str(folder))
    job = await mailer.accept(
        letter={
            "subject": "Übersee {{ name }}",
            "text": ".dots\n  spaces  \n\n\n",
            "html": "<p>Dear {{ name }}</p>",
            "unsubscribe": True,
        },
        recipients=[{"to": f"{name}@example.test", "variables": {"name": name}} for name in ("ada", "jürgen")],
    )
    await mailer.finish(job)
    assert len(relay.deliveries) == 2
    for delivery in relay.deliveries:
        assert verified(delivery.content, records) == [True, True]
        (signature, _) = delivery.message.get_all("DKIM-Signature")  # type: ignore[misc]
        assert "list-unsubscribe:list-unsubscribe-post" in str(signature)
        broken = delivery.content.replace(b"Dear", b"Deer", 1)
        assert verified(broken, records) == [False, False]
        added = b"Subject: Another\r\n" + delivery.content
        assert verified(added, records) == [False, False]


@pytest.mark.parametrize(("tenant", "sender"), [("dev", "a@elsewhere.test"), ("another", "a@argosy.test")])
async def test_others_domains_are_not_signed(
    mailer: Mailer, relay: Relay, keys: tuple[Path, Records], tenant: str, sender: str
) -> None:
    await mailer.configured(mail_dkim_keys=str(keys[0]))
    job = await mailer.accept(tenant=tenant, letter={"from": sender, "text": "x"}, to=["ada@example.test"])
    await mailer.finish(job)
    assert "DKIM-Signature" not in relay.deliveries[0].message
