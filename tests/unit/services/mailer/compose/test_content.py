"""Nothing that is put into a letter gets out of its place: no header, no recipient, no markup, no program."""

import json
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.contracts.mail import Letter, Mailbox, StoredLetter
from services.mailer.compose.content import Addressee, compose

FIELDS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
}


NASTY = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=st.sampled_from("\r\n\x00\x0b\x0c\x1c\x85\u2028\u2029:<>\"'{}% aBc"), max_size=60),
    st.sampled_from(
        [
            "x\r\nBcc: eve@evil.test", "x\nX-Evil: 1", "x\r\n\r\nbody", "=?utf-8?q?a=0D=0ABcc:_eve=40evil.test?=",
            "</p><script>alert(1)</script>", "{{ 7 * 7 }}", "{% raw %}", "\r\n.\r\nMAIL FROM:<eve@evil.test>",
        ]
    ),
)  # fmt: skip


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)


def composed(letter: Letter, variables: dict[str, str], *, is_template: bool = True) -> EmailMessage | None:
    head = StoredLetter(letter=letter, is_template=is_template)
    (made,) = compose(
        head,
        [Addressee(0, Mailbox("", "ada@example.test"), json.dumps(variables), "<1@argosy.test>")],
        "Thu, 01 Jan 1970 00:00:00 +0000",
    )
    if made.problem is not None:
        return None
    assert b"\n" not in made.content.replace(b"\r\n", b""), "lines end with CRLF only"
    return message_from_bytes(made.content, policy=policy.default)


@settings(max_examples=400, deadline=None)
@given(name=NASTY, text=NASTY)
def test_variables_stay_where_they_are_put(name: str, text: str) -> None:
    letter = Letter.model_validate(
        {
            "from": "office@argosy.test",
            "subject": "Ahoy {{ name }}!",
            "text": "Dear {{ name }}: {{ text }}",
            "html": "<p title='{{ name }}'>{{ text }}</p>",
        }
    )
    message = composed(letter, {"name": name, "text": text})
    if message is None:  # text that no message can carry, such as half a character: it is not sent
        return
    assert set(message.keys()) <= FIELDS
    assert [str(address) for address in message["To"].addresses] == ["ada@example.test"]
    assert message["Bcc"] is None
    subject = message["Subject"]
    assert subject.startswith("Ahoy")
    assert "\n" not in subject
    assert "\r" not in subject
    html = message.get_body(("html",))
    assert html is not None
    tags = Tags()
    tags.feed(html.get_content())
    assert [tag for tag in tags.found if tag not in ("html", "head", "body")] == ["p"], "no markup from a variable"
    plain = message.get_body(("plain",))
    assert plain is not None
    assert "49" not in plain.get_content() or "49" in name + text, "a variable is no template"


@settings(max_examples=300, deadline=None)
@given(subject=NASTY, name=NASTY, header=NASTY)
def test_a_letter_that_is_accepted_has_the_headers_it_was_given(subject: str, name: str, header: str) -> None:
    try:
        letter = Letter.model_validate(
            {
                "from": f"{name} <office@argosy.test>",
                "subject": subject,
                "text": "x",
                "headers": {"X-Port": header},
            }
        )
    except ValidationError:
        return
    message = composed(letter, {}, is_template=False)
    if message is None:
        return
    assert set(message.keys()) <= FIELDS | {"X-Port"}
    assert [address.addr_spec for address in message["From"].addresses] == ["office@argosy.test"]


@settings(max_examples=200, deadline=None)
@given(
    address=st.one_of(NASTY, NASTY.map(lambda text: f"{text}@example.test"), NASTY.map(lambda t: f"a@{t}.test"))
)
def test_an_address_that_is_accepted_is_one_address(address: str) -> None:
    try:
        letter = Letter.model_validate({"from": address, "text": "x"})
    except ValidationError:
        return
    message = composed(letter, {}, is_template=False)
    assert message is not None
    assert set(message.keys()) <= FIELDS
    assert len(message["From"].addresses) == 1
