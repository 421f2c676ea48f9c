"""Signatures that somebody else's verifier accepts (dkimpy), RSA and Ed25519."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.mailer.compose import signing
from tests.dkim_verifier import Records, make_keys, verified

BODIES = st.lists(st.text(alphabet=st.sampled_from(" \t.aé\r\n"), max_size=20), max_size=8).map("\r\n".join)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Records]:
    folder = tmp_path_factory.mktemp("dkim")
    return folder, make_keys(folder)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, subject=st.text(alphabet=st.sampled_from(" aé:;"), max_size=40))
def test_any_text_is_signed_so_that_it_can_be_verified(
    keys: tuple[Path, Records], body: str, subject: str
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
