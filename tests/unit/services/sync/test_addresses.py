"""What is public, in every spelling, and what an address of a source may contain."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.addresses import check_url, is_public, may_connect, origin_of
from services.sync.refusals import AddressRefused

NOT_PUBLIC = (
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.1"),  # noqa: S104
    *("192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1"),
    *("::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::"),
    *("2002:c0a8:1::1", "2001:4860::5efe:127.0.0.1", "2001:4860::200:5efe:10.0.0.1", "3fff::1", "5f00::1"),
    *("4000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1"),
)
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:801::200e"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_what_is_wrapped_is_as_public_as_what_is_in_it(address: IPv4Address) -> None:
    number = int(address)
    wrapped = [
        IPv6Address(prefix | number) for prefix in (0, 0xFFFF << 32, 0xFFFF << 48, int(IPv6Address("64:ff9b::")))
    ]
    assert {is_public(one) for one in wrapped} == {is_public(address)}
    assert is_public(IPv6Address(0x2002 << 112 | number << 80 | 1)) == is_public(address)


def test_only_usual_ports_and_numeric_addresses() -> None:
    assert all(may_connect("1.1.1.1", port) for port in (80, 443, 8080, 8443))
    assert not any(may_connect("1.1.1.1", port) for port in (0, 22, 25, 5432, 6379, 4222))
    assert not may_connect("example.com", 80)


def test_what_is_allowed_is_allowed_with_any_port_and_nothing_else_is() -> None:
    allowed = [ip_network("127.0.0.0/8"), ip_network("fd00::/8")]
    assert may_connect("127.0.0.1", 5000, allowed)
    assert may_connect("fd00::1", 5000, allowed)
    assert not may_connect("::ffff:127.0.0.1", 5000, allowed)
    assert not may_connect("10.0.0.1", 80, allowed)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "javascript:alert(1)",
            "example.com",
        ),
        *("http://", "http:///path", "http://user@example.com/", "http://user:word@example.com/", "http://:80/"),
        *("http://example.com:99999/", "http://example.com:x/", "http://[::1/", "http://example.com:0/", ""),
    ],
)
def test_what_is_no_address_of_a_source(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url)


def test_the_origin_has_the_usual_port() -> None:
    assert origin_of("http://Example.com/a") == origin_of("http://example.com:80/b") == ("http", "example.com", 80)
    assert origin_of("https://example.com/a") == ("https", "example.com", 443)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://[::1/", "The address is no URL: look at its brackets and its host."),
        ("https://a.test:99999/", "The port of the address must be a number from 1 to 65535."),
        ("https://a.test:x/", "The port of the address must be a number from 1 to 65535."),
    ],
)
def test_why_an_address_cannot_be_read_is_told(url: str, sentence: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        check_url(url)
    assert str(refused.value) == sentence
