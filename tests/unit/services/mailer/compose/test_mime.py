"""Bodies that are read as they were written, in lines that any server takes."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mailer.compose.mime import LINE_AT_MOST, entity

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.text(
    st.sampled_from("a .=\t\r\n-é漢\x00\x0b"), max_size=200
)


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.SMTP)


def text_of(part: MIMEPart) -> str:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


def unified(text: str) -> str:
    """With ends of lines as they travel, and one at the end."""
    text = re.sub(r"\r\n|\r|\n", "\r\n", text)
    return text if text.endswith("\r\n") else text + "\r\n"


def encoding_of(content: bytes) -> str:
    return str(parsed(content)["Content-Transfer-Encoding"])


@given(TEXT)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    content = entity(text, None)
    assert text_of(parsed(content)) == unified(text)
    lines = content.split(b"\r\n")
    assert all(len(line) <= LINE_AT_MOST for line in lines)
    assert not re.search(rb"[\r\n\x80-\xff\x00]", b"".join(lines)), "any server takes it"


@given(text=TEXT, html=TEXT)
def test_text_comes_before_html_and_both_are_whole(text: str, html: str) -> None:
    """The last is the one that is shown where it can be (RFC 2046, 5.1.4)."""
    message = parsed(entity(text, html))
    parts = list(message.iter_parts())
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    # The line's end before a boundary is the boundary's.
    assert [text_of(part).rstrip("\r\n") for part in parts] == [unified(t).rstrip("\r\n") for t in (text, html)]


def test_a_text_cannot_end_its_part() -> None:
    boundary = parsed(entity("x", "y")).get_boundary()
    assert boundary is not None
    evil = f"--{boundary}\r\nContent-Type: text/html\r\n\r\n<script>\r\n--{boundary}--"
    parts = list(parsed(entity(evil, f"<p>--{boundary}x</p>")).iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert text_of(parts[0]).strip() == evil


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("High water at six.", "7bit"),
        ("x" * LINE_AT_MOST, "7bit"),
        ("x" * (LINE_AT_MOST + 1), "quoted-printable"),
        ("Überfahrt um sechs, wie an jedem anderen Tag", "quoted-printable"),
        ("Πλημμυρίδα στις έξι", "base64"),
    ],
)
def test_the_encoding_keeps_what_can_be_read(text: str, encoding: str) -> None:
    assert encoding_of(entity(text, None)) == encoding


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        entity("\ud83d", None)
