"""Signatures that somebody else's verifier accepts (dkimpy), RSA and Ed25519."""

import base64
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.mailer.compose import signing
from tests.mailing import Mailer
from tests.relay import Relay


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, bytes]]:
    """A folder with two keys of argosy.test for the tenant dev, and what DNS would say of them."""
    folder = tmp_path_factory.mktemp("dkim")
    (folder / "dev" / "argosy.test").mkdir(parents=True)
    records = {}
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    edwards_key = ed25519.Ed25519PrivateKey.generate()
    spki = rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = edwards_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    records[b"r1._domainkey.argosy.test."] = b"v=DKIM1; k=rsa; p=" + base64.b64encode(spki)
    records[b"e1._domainkey.argosy.test."] = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    for selector, key in (("r1", rsa_key), ("e1", edwards_key)):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "dev" / "argosy.test" / f"{selector}.pem").write_bytes(pem)
    return folder, records


def verified(content: bytes, records: dict[bytes, bytes]) -> list[bool]:
    """For each signature of a message, whether it holds."""

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        return records.get(name)

    def holds(number: int) -> bool:
        try:
            return bool(dkim.DKIM(content).verify(idx=number, dnsfunc=look_up))
        except dkim.ValidationError:
            return False

    return [holds(number) for number in range(content.count(b"DKIM-Signature:"))]


async def test_both_signatures_hold_at_the_other_end(
    mailer: Mailer, relay: Relay, keys: tuple[Path, dict[bytes, bytes]]
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
    mailer: Mailer, relay: Relay, keys: tuple[Path, dict[bytes, bytes]], tenant: str, sender: str
) -> None:
    await mailer.configured(mail_dkim_keys=str(keys[0]))
    job = await mailer.accept(tenant=tenant, letter={"from": sender, "text": "x"}, to=["ada@example.test"])
    await mailer.finish(job)
    assert "DKIM-Signature" not in relay.deliveries[0].message


BODIES = st.lists(st.text(alphabet=st.sampled_from(" \t.aé\r\n"), max_size=20), max_size=8).map("\r\n".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, subject=st.text(alphabet=st.sampled_from(" aé:;"), max_size=40))
def test_any_text_is_signed_so_that_it_can_be_verified(
    keys: tuple[Path, dict[bytes, bytes]], body: str, subject: str
) -> None:
    folder, records = keys
    lines = body.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    content = f"From: office@argosy.test\r\nTo: a@b.test\r\nSubject: {subject}\r\n\r\n{lines}".encode()
    signed: Any = signing.sign(content, signing.load_keys(folder)["dev", "argosy.test"])
    assert verified(signed, records) == [True, True]


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev" / "argosy.test").mkdir(parents=True)
    (tmp_path / "dev" / "argosy.test" / "x.pem").write_text("not a key")
    with pytest.raises(ValueError):  # noqa: PT011 - cryptography's own words
        signing.load_keys(tmp_path)
