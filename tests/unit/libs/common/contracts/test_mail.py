"""Addresses, headers and letters as callers may write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.contracts.mail import (
    AddressedRecipient,
    Letter,
    Mailbox,
    QuietHours,
    Recipient,
    clock,
    parse_mailbox,
    refuse_twice,
)

ENDS_OF_LINE = ["\r", "\n", "\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x7f"]


def letter(**fields: Any) -> Letter:
    return Letter.model_validate({"from": "office@example.com"} | fields)


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("ada@example.com", Mailbox("", "ada@example.com")),
        ("  ada@example.com ", Mailbox("", "ada@example.com")),
        ("Ada Lovelace <ada@example.com>", Mailbox("Ada Lovelace", "ada@example.com")),
        ('"Lovelace, Ada" <Ada@EXAMPLE.com>', Mailbox("Lovelace, Ada", "Ada@example.com")),
        ("ada@bücher.example", Mailbox("", "ada@xn--bcher-kva.example")),
    ],
)
def test_a_mailbox_is_a_name_and_an_address_whose_domain_is_ascii(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox
    assert mailbox.domain == mailbox.address.split("@")[1]


@pytest.mark.parametrize(
    "text",
    ["", "ada", "@example.com", "ada@", "a@b@example.com", "Ada <>", "<ada@example.com> Ada",
     "a" * 490 + "@example.com", "ada@example.com, bob@example.com", "Ada <ada@example.com> <bob@example.com>",
     "ada@[127.0.0.1]"],
)  # fmt: skip
def test_what_is_no_single_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Not an email address"):
        parse_mailbox(text)


@given(st.text())
def test_no_text_breaks_the_parser_or_smuggles_a_line_through_it(text: str) -> None:
    for written in (text, f"{text} <ada@example.com>", f"{text}@example.com"):
        try:
            mailbox = parse_mailbox(written)
        except ValueError:
            continue
        assert len((mailbox.name + mailbox.address).splitlines()) == 1


@pytest.mark.parametrize("end", ENDS_OF_LINE)
def test_no_header_can_be_begun_inside_another(end: str) -> None:
    smuggled = f"a{end}Bcc: eve@example.com"
    for fields in ({"subject": smuggled}, {"headers": {"X-A": smuggled}}, {"from": f"{smuggled} <a@example.com>"}):
        with pytest.raises(ValidationError):
            letter(**fields)


@pytest.mark.parametrize(
    "name", ["From", "bcc", "To", "Subject", "DKIM-Signature", "X-", "X-A:", "X-A\r\nBcc", "Received"]
)
def test_headers_that_say_whose_mail_it_is_cannot_be_set(name: str) -> None:
    with pytest.raises(ValidationError):
        letter(headers={name: "x"})


def test_headers_that_may_be_set() -> None:
    headers = {"X-Campaign": "tides", "List-Id": "<tides.example.com>", "References": "<1@example.com>"}
    assert letter(headers=headers).headers == headers


def test_an_address_given_twice_is_named_whatever_the_case_of_its_letters() -> None:
    refuse_twice(["ada@example.com", "bob@example.com"])
    with pytest.raises(ValueError, match=r"1 addresses .* such as ada@example\.com"):
        refuse_twice(["Ada <ADA@example.com>", "bob@example.com", "ada@EXAMPLE.com"])


@pytest.mark.parametrize("zone", ["Factory", "localtime", "Atlantis/Here", "europe/berlin ", "../etc/passwd"])
def test_a_time_zone_is_one_that_means_the_same_everywhere(zone: str) -> None:
    with pytest.raises(ValidationError):
        Recipient(to="ada@example.com", time_zone=zone)
    assert Recipient(to="ada@example.com", time_zone="Europe/Berlin").time_zone == "Europe/Berlin"


@pytest.mark.parametrize("time", ["24:00", "9:00", "09:60", "09:00:00", "09:0", "٠9:00", "09:00\n"])
def test_a_clock_has_four_digits(time: str) -> None:
    with pytest.raises(ValidationError):
        QuietHours(begin=time, end="07:00")
    assert clock(QuietHours(begin="23:59", end="00:00").begin).minute == 59


def test_a_recipient_taken_apart_keeps_name_variables_and_zone() -> None:
    recipient = Recipient(to="Ada <ada@Bücher.example>", variables={"n": 1}, time_zone="UTC")
    addressed = AddressedRecipient.of(recipient)
    assert (addressed.name, addressed.address) == ("Ada", "ada@xn--bcher-kva.example")
    assert (addressed.domain, addressed.variables, addressed.time_zone) == (
        "xn--bcher-kva.example",
        {"n": 1},
        "UTC",
    )
