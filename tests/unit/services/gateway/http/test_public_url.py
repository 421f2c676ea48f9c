"""What comes before the paths that callers are told: PUBLIC_URL, or what trusted proxies say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.client_address import ClientAddresses
from services.gateway.http.public_url import READ_AT_MOST, PublicUrls

PROXY, STRANGER = "10.0.0.1", "203.0.113.9"


def base(peer: str | None = PROXY, configured: str | None = None, **fields: str | list[str]) -> str:
    """The base for a request with header fields, whose names are written with underscores."""
    named = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
    headers = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, values in named.items()
        for value in values
    ]
    client = None if peer is None else (peer, 1234)
    urls = PublicUrls(configured, ClientAddresses(["10.0.0.0/8"]))
    return urls.base({"type": "http", "client": client, "headers": headers})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"x_forwarded_prefix": "/api"}, "/api"),
        ({"x_forwarded_prefix": "/api/"}, "/api"),
        ({"x_forwarded_prefix": "/"}, ""),
        ({"x_forwarded_prefix": "/outer, /inner"}, "/outer/inner"),
        ({"x_forwarded_prefix": ["/outer", "/inner"]}, "/outer/inner"),
        ({"forwarded": "for=192.0.2.1;host=api.example.com;proto=https"}, "https://api.example.com"),
        ({"forwarded": 'For="[2001:db8::1]:4711"; Host="api.example.com:8443" ;PROTO=HTTPS'},
         "https://api.example.com:8443"),
        ({"forwarded": "host=first.example;proto=https, host=second.example;proto=http"}, "https://first.example"),
        ({"forwarded": ["host=first.example;proto=https", "host=second.example;proto=http"]},
         "https://first.example"),
        ({"forwarded": 'host="[2001:db8::1]:8443";proto=https', "x_forwarded_prefix": "/api"},
         "https://[2001:db8::1]:8443/api"),
        ({"forwarded": "for=192.0.2.1"}, ""),
        ({"forwarded": "host=api.example.com"}, ""),
        ({"x_forwarded_host": "api.example.com", "x_forwarded_proto": "https"}, "https://api.example.com"),
        ({"x_forwarded_host": "a.example, b.example", "x_forwarded_proto": "https, http"}, "https://a.example"),
        ({"x_forwarded_host": "api.example.com"}, ""),
        ({"x_forwarded_proto": "https"}, ""),
        ({"forwarded": "for=192.0.2.1;proto=https", "x_forwarded_host": "api.example.com"},
         "https://api.example.com"),
    ],
)  # fmt: skip
def test_a_trusted_proxy_says_where_it_was_reached(fields: dict[str, str], expected: str) -> None:
    assert base(**fields) == expected
    assert base(STRANGER, **fields) == base(None, **fields) == ""


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "api", "/a b", "/a?x", "/a#x", "https://evil.example", "/é", '/"']
)
def test_a_prefix_that_is_no_path_is_not_used(prefix: str) -> None:
    assert base(x_forwarded_prefix=prefix) == ""


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@a.example", "a.example?x", "<x>", "a.example:port", "-a"]
)
def test_a_host_that_is_none_is_not_used(host: str) -> None:
    assert base(x_forwarded_host=host, x_forwarded_proto="https", x_forwarded_prefix="/api") == "/api"


@pytest.mark.parametrize("proto", ["", "javascript", "wss", "https:"])
def test_a_scheme_that_is_not_ours_is_not_used(proto: str) -> None:
    assert base(x_forwarded_host="a.example", x_forwarded_proto=proto) == ""


def test_the_setting_decides_whoever_asks() -> None:
    for peer in (PROXY, STRANGER, None):
        assert (
            base(peer, "https://api.example.com/argosy", x_forwarded_prefix="/x")
            == "https://api.example.com/argosy"
        )


def test_what_is_too_long_is_not_read() -> None:
    assert base(x_forwarded_prefix="/" + "a" * READ_AT_MOST) == ""


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)


@given(TEXT, TEXT, TEXT, TEXT)
def test_whatever_is_said_nothing_but_an_address_comes_of_it(
    forwarded: str, host: str, proto: str, prefix: str
) -> None:
    told = base(forwarded=forwarded, x_forwarded_host=host, x_forwarded_proto=proto, x_forwarded_prefix=prefix)
    assert not told.startswith("//")
    assert not set(told) & set("\"'<>\\ \t?#@")
