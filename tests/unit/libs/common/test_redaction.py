"""Secrets of every kind are blotted out, wherever they stand, and nothing else is."""

import base64
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.redaction import redacted

SECRET = "Zk3PqV7tYw9BxNc5Rd1LmJh8"  # noqa: S105
KEY = f"argosy_dev_a1B2c3D4e5F6_{SECRET}_0a1b2c3d"
TOKEN = jwt.encode({"sub": "x"}, "a secret of the tests, and of nobody else", algorithm="HS256")
BASE32 = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnop"
SLOTS = [
    ("{}", KEY, SECRET),
    ("/v1/jobs/{}/events", KEY, SECRET),
    ("GET /v1/jobs?key={}&limit=5", KEY, SECRET),
    ("Bearer {}", KEY, SECRET),
    ("bearer  {}", SECRET, SECRET),
    ("/v1/jobs?authorization=Bearer%20{}", SECRET, SECRET),
    ("[(b'authorization', b'Basic {}')]", "dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
    ("Authorization: Basic {}", "dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
    ("/v1/{}", KEY.replace("_", "%5F"), SECRET),
    ("/v1/{}", KEY[:30], SECRET[:6]),
    ("/v1/{}", f"argosy_dev_mistyped_{SECRET}", SECRET),
    ("token {}.", TOKEN, TOKEN.split(".")[2]),
    ("token {}.", TOKEN, TOKEN.split(".")[1]),
    ("cannot reach postgresql://argosy:{}@localhost:5432/argosy", SECRET, SECRET),
    ("cannot reach redis://:{}@localhost:6379/0", SECRET, SECRET),
    ("cannot reach nats://{}@localhost:4222", SECRET, SECRET),
    ("cannot reach nats://a:{}@b", f"p@{SECRET}", SECRET),
    ("cannot reach nats://a:{}@b", f'p"{SECRET}\\', SECRET),
    ("/v1/unsubscribe/{}", f"1{SECRET}-_x", SECRET),
    ("https://x.example/v1/unsubscribe/{}?a=b", BASE32, BASE32),
    ("/v1/unsubscribe//{}/more", f"1{SECRET}", SECRET),
    ("550 <bounce-{}@example.com> unknown", BASE32, BASE32),
]
"""A text, what stands in it, and what must not be there any more."""


@pytest.mark.parametrize(("text", "value", "secret"), SLOTS, ids=str)
@given(around=st.tuples(st.text(alphabet=" ,;:()'\"\\\n/é|"), st.text(alphabet=" ,;()'\"\\\n|")))
def test_a_secret_is_blotted_out_wherever_it_stands(
    text: str, value: str, secret: str, around: tuple[str, str]
) -> None:
    filled = text.format(value)
    for document in (
        {"path": filled},
        {"exception": around[0] + filled + around[1]},
        {filled: [{"deep": filled}]},
    ):
        line = redacted(orjson.dumps(document))
        assert secret not in line.decode()
        assert b"[redacted]" in line
        orjson.loads(line)


@given(
    st.recursive(
        st.one_of(st.text(), st.integers(-(2**53), 2**53), st.sampled_from([KEY, TOKEN, f"a://b:{SECRET}@c"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_stays_json(document: Any) -> None:
    line = redacted(orjson.dumps(document))
    orjson.loads(line)
    assert SECRET.encode() not in line


@pytest.mark.parametrize(
    "text",
    [
        "argosy_http_request_seconds, argosy_mail_relay_refusals and argosy_background_deaths",
        "role argosy_mailer_tenant, argosy_gateway_login, database argosy_dev_test",
        "the key a1B2c3D4e5F6 of argosy_dev",
        "https://example.com/@someone, http://127.0.0.1:8080/docs, mail to ada@example.com",
        "Send an API key as `Authorization: Bearer <key>`.",
        "CA cert has Basic Constraints that are not critical",
        "unsubscribed 3; bounce-rate 5",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 job_4bf92f3577b34da6a3ce929d0e0e4736",
        base64.b64encode(b"any bytes, no token").decode(),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text.encode()).decode() == text


def test_the_public_part_of_a_key_stays() -> None:
    assert redacted(f"GET /v1/{KEY}/x".encode()) == b"GET /v1/argosy_dev_a1B2c3D4e5F6_[redacted]/x"
