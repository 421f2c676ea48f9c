"""Addresses as people write them, and the slips that are refused without repeating them."""

import pytest

from libs.common.server_addresses import NatsAddresses, check_redis_address, nats_addresses


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("nats://h:4222", (["nats://h:4222"], None, None, None)),
        ("nats://u:p@a:1,nats://b:2", (["nats://a:1", "nats://b:2"], "u", "p", None)),
        (" nats://u:p@a:1 , nats://u:p@b:2 ", (["nats://a:1", "nats://b:2"], "u", "p", None)),
        ("tls://u:a%2Cb%40c@[::1]:1", (["tls://[::1]:1"], "u", "a,b@c", None)),
        ("nats://s3cret@h", (["nats://h"], None, None, "s3cret")),
    ],
)
def test_a_list_has_one_login(text: str, read: tuple[list[str], str | None, str | None, str | None]) -> None:
    assert nats_addresses(text) == NatsAddresses(*read)


@pytest.mark.parametrize(
    "text",
    [
        "nats://u:hunter2@h:4222x",
        "nats://u:hunter2@h:422222",
        "nats://u:hunter2@h:4222,",
        "nats:/u:hunter2@h",
        "u:hunter2@h:4222",
        "http://u:hunter2@h:4222",
        "nats://u:hunter2@h nats://u:hunter2@i",
        "nats://u:hunter2@h;nats://u:hunter2@i",
        "nats://u:hunter2@a,nats://u:hunter3@b",
        "nats://u:hunter2@a,tls://u:hunter2@b",
    ],
)
def test_a_slip_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        nats_addresses(text)
    assert "hunter" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    ["redis://h", "redis://:p@h:6379/0", "rediss://u:p@h:6379/15?ssl_cert_reqs=none", "unix:///run/redis.sock"],
)
def test_an_address_of_redis(text: str) -> None:
    check_redis_address(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redis+sentinel://u:hunter2@h:26379/mymaster", "Sentinel"),
        ("redis://:hunter2@h:6379x/0", "port"),
        ("redis://:hunter2@h:6379/first", "database"),
        ("h:6379", "redis://"),
    ],
)
def test_an_address_of_redis_that_cannot_be_used(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_redis_address(text)
    assert "hunter" not in str(refused.value)
