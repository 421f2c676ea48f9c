"""Fields that say what they were given, and cannot be ended from within."""

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts.mail import Mailbox
from services.mailer.compose.header_fields import addresses, field, parameter

LINE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=300)
"""What a contract lets through: text of one line."""
WORDY = st.text(st.sampled_from('ab "\\,;@<>()=?_é漢😀.'), max_size=120)


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content + b"\r\n", policy=policy.default)


def whole(content: bytes) -> bool:
    """Whether it is one field in lines that any server takes."""
    *lines, end = content.split(b"\r\n")
    return (
        not end
        and b"\n" not in b"".join(lines)
        and b"\r" not in b"".join(lines)
        and all(line.startswith(b" ") and line.strip() for line in lines[1:])
        and all(len(line) <= 998 for line in lines)
    )


@given(LINE | WORDY)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    written = field("Subject", text)
    assert whole(written)
    assert written.isascii()
    assert " ".join(parsed(written)["Subject"].split()) == " ".join(text.split())


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_text_ends_its_field_whatever_is_in_it(text: str) -> None:
    written = field("X-Port", text)
    assert whole(written)
    assert parsed(written).keys() == ["X-Port"]


@pytest.mark.parametrize("text", ["=?utf-8?q?a=0D=0ABcc:_eve=40evil.test?=", "a =?x", "=?utf-8?b?AAAA?="])
def test_what_looks_encoded_is_taken_as_it_stands(text: str) -> None:
    assert parsed(field("Subject", text))["Subject"] == text


def test_long_texts_are_folded_between_words_and_long_words_are_encoded() -> None:
    lines = field("Subject", "tide table " * 30).split(b"\r\n")
    assert all(len(line) <= 76 for line in lines)
    assert b"=?" not in b"".join(lines)
    assert all(len(line) <= 76 for line in field("Subject", "x" * 2000).split(b"\r\n"))


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        field("Subject", "\ud83d")


NAMES = LINE.map(lambda text: re.sub('[<>"]', "", text)) | WORDY.map(lambda text: re.sub('[<>"]', "", text))


@given(st.lists(NAMES, min_size=1, max_size=5))
@example(["", "00¡¡𐀀", "000 \\"])
def test_mailboxes_keep_their_number_their_names_and_their_addresses(names: list[str]) -> None:
    """Read by the older of Python's parsers: the newer puts spaces between the encoded words of a name."""
    mailboxes = [Mailbox(" ".join(name.split()), f"r{number}@example.test") for number, name in enumerate(names)]
    written = addresses("To", mailboxes)
    assert whole(written)
    folded = message_from_bytes(written + b"\r\n", policy=policy.compat32)["To"]
    found = getaddresses([folded.replace("\r\n ", " ")])  # unfolded first, as RFC 5322 wants
    read = [Mailbox(" ".join(str(make_header(decode_header(name))).split()), address) for name, address in found]
    assert read == mailboxes


def test_an_address_beyond_ascii_stands_as_it_is() -> None:
    assert addresses("To", [Mailbox("", "jürgen@example.test")]) == "To: jürgen@example.test\r\n".encode()


@given(LINE.map(str.strip).filter(bool))
def test_a_file_has_the_name_that_it_was_given(name: str) -> None:
    written = f"Content-Disposition: attachment; {parameter('filename', name)}\r\n".encode()
    assert written.isascii()
    assert (
        parsed(written)["Content-Disposition"].params["filename"] == name
    )  # get_filename() makes nothing of `<>`
