"""Signatures that somebody else's verifier accepts (dkimpy), RSA and Ed25519."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.mailer.compose import signing
from services.mailer.compose.signing import Key
from tests.dkim_verifier import Records, make_keys, verified

MESSAGE = b"From: office@argosy.test\r\nTo: a@b.test\r\nSubject: Tides\r\n\r\nHigh water at six.\r\n"


class Keys(NamedTuple):
    """Those of argosy.test for the tenant dev."""

    folder: Path
    loaded: list[Key]
    records: Records


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("dkim")
    records = make_keys(folder)
    return Keys(folder, signing.load_keys(folder)["dev", "argosy.test"], records)


BODIES = st.lists(st.text(alphabet=st.sampled_from(" \t.aé\r\n"), max_size=20), max_size=8).map("\r\n".join)


@settings(max_examples=2 * settings().max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, subject=st.text(alphabet=st.sampled_from(" aé:;"), max_size=40))
def test_any_text_is_signed_so_that_it_can_be_verified(keys: Keys, body: str, subject: str) -> None:
    lines = body.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    content = f"From: office@argosy.test\r\nTo: a@b.test\r\nSubject: {subject}\r\n\r\n{lines}".encode()
    assert verified(signing.sign(content, keys.loaded), keys.records) == [True, True]


def test_without_keys_a_message_stays_as_it_is() -> None:
    assert signing.sign(b"no line's end", []) == b"no line's end"


def test_a_signature_goes_before_the_message_for_each_key(keys: Keys) -> None:
    signed = signing.sign(MESSAGE, keys.loaded)
    assert signed.endswith(MESSAGE)
    assert re.findall(rb"a=([a-z0-9-]+);.*? s=(\w+);", signed) == [
        (b"ed25519-sha256", b"e1"),
        (b"rsa-sha256", b"r1"),
    ]


@pytest.mark.parametrize("name", [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Reply-To"])
def test_a_field_that_is_added_breaks_the_signature_whether_it_was_there_or_not(keys: Keys, name: bytes) -> None:
    signed = signing.sign(MESSAGE, keys.loaded)
    assert verified(name + b": eve@evil.test\r\n" + signed, keys.records) == [False, False]


def test_servers_on_the_way_may_fold_lines_anew_and_add_what_is_theirs(keys: Keys) -> None:
    signed = signing.sign(MESSAGE, keys.loaded)
    arrived = b"Received: from far\r\n" + signed.replace(b"Subject: Tides", b"SUBJECT:\r\n\tTides  ") + b"\r\n\r\n"
    assert verified(arrived, keys.records) == [True, True]


def test_keys_are_found_by_tenant_and_by_domain_in_small_letters(keys: Keys, tmp_path: Path) -> None:
    pem = (keys.folder / "dev" / "argosy.test" / "e1.pem").read_bytes()
    for place in ("acme/Example.TEST/s2.pem", "acme/Example.TEST/s1.pem", "globex/example.test/g.pem"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(pem)
    (tmp_path / "acme" / "Example.TEST" / "README").write_text("not a key")
    found = signing.load_keys(tmp_path)
    assert {where: [key.selector for key in theirs] for where, theirs in found.items()} == {
        ("acme", "example.test"): ["s1", "s2"],
        ("globex", "example.test"): ["g"],
    }
    assert {key.domain for theirs in found.values() for key in theirs} == {"example.test"}


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev" / "argosy.test").mkdir(parents=True)
    (tmp_path / "dev" / "argosy.test" / "x.pem").write_text("not a key")
    with pytest.raises(ValueError):  # noqa: PT011 - cryptography's own words
        signing.load_keys(tmp_path)


def test_a_key_that_dkim_has_no_algorithm_for_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "dev" / "argosy.test").mkdir(parents=True)
    elliptic = ec.generate_private_key(ec.SECP256R1())
    pem = elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "dev" / "argosy.test" / "curve.pem").write_bytes(pem)
    with pytest.raises(ValueError, match=r"curve\.pem"):
        signing.load_keys(tmp_path)
