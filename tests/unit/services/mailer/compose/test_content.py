"""Nothing that is put into a letter gets out of its place: no header, no recipient, no markup, no program."""

import json
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.contracts.mail import Letter, Mailbox, StoredLetter
from libs.common.errors import storable
from services.mailer.compose.content import (
    CHARACTERS_AT_MOST,
    SUBJECT_AT_MOST,
    Addressee,
    Composed,
    check,
    compose,
    needs_sandbox,
    preview,
)
from services.mailer.refusals import TemplateInvalid

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


@settings(max_examples=4 * settings().max_examples)
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


@settings(max_examples=3 * settings().max_examples)
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


@settings(max_examples=2 * settings().max_examples)
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


def made(letter: Mapping[str, object], *variables: object, **more: object) -> list[Composed]:
    """Messages to one recipient for each of these variables."""
    head = StoredLetter.model_validate({"letter": {"from": "office@argosy.test", **letter}, **more})
    addressees = [
        Addressee(number, Mailbox("", f"r{number}@example.test"), json.dumps(own), f"<{number}@argosy.test>")
        for number, own in enumerate(variables)
    ]
    return list(compose(head, addressees, "Thu, 01 Jan 1970 00:00:00 +0000"))


def test_whose_template_goes_wrong_gets_none_and_the_others_get_theirs() -> None:
    letter = {"subject": "x", "text": "{{ 6 / parts }} for {{ name }}"}
    half, nobody, none = made(
        letter, {"name": "ada", "parts": 2}, {"parts": 1}, {"name": "eve", "parts": 0}, is_template=True
    )
    assert b"3.0 for ada" in half.content
    assert (nobody.content, none.content) == (b"", b"")
    assert nobody.problem is not None
    assert "name" in nobody.problem
    assert none.problem is not None
    assert none.problem.endswith(", line 1: Something is divided by 0.")


@pytest.mark.parametrize(
    ("letter", "at_most"),
    [
        ({"subject": "{{ 'x' * n }}", "text": "x"}, SUBJECT_AT_MOST),
        ({"text": "{{ 'x' * n }}"}, CHARACTERS_AT_MOST),
        ({"html": "{{ 'x' * n }}"}, CHARACTERS_AT_MOST),
    ],
)
def test_what_templates_make_is_bounded(letter: dict[str, object], at_most: int) -> None:
    fits, too_long = made(letter, {"n": at_most}, {"n": at_most + 1}, is_template=True)
    assert fits.problem is None
    assert too_long.problem is not None
    assert f"more than {at_most:,}" in too_long.problem


def test_a_letter_that_is_no_template_is_sent_as_it_stands() -> None:
    (message,) = made({"subject": "{{ a }}", "text": "{% if %}"}, {})
    assert b"Subject: {{ a }}\r\n" in message.content
    assert b"\r\n\r\n{% if %}\r\n" in message.content


def test_without_a_text_it_is_made_from_the_html() -> None:
    (message,) = made({"html": "<style>p {color: red}</style><h1>Tides</h1><p>High &amp; low</p>"}, {})
    parsed = message_from_bytes(message.content, policy=policy.default)
    plain, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().split() == ["Tides", "High", "&", "low"]
    assert 'style="color: red' in html.get_content(), "many mail programs read only that"


def test_everybody_sees_the_same_addressees_where_the_letter_names_them() -> None:
    first, second = made({"text": "x"}, {}, {}, to=["Ada <ada@example.test>", "b@example.test"], cc=["c@x.test"])
    for message in (first, second):
        assert b"To: Ada <ada@example.test>, b@example.test\r\nCc: c@x.test\r\n" in message.content
    assert first.content != second.content, "their ids differ"


def test_a_template_that_cannot_be_read_is_refused_with_its_line() -> None:
    for text in ("fine\n{% for %}", "fine\n{{ name"):
        letter = Letter.model_validate({"from": "a@b.test", "text": text})
        with pytest.raises(TemplateInvalid, match="text, line 2"):
            check(StoredLetter(letter=letter, is_template=True))


@pytest.mark.parametrize(
    "text",
    [
        "{{ nobody }}", "{{ 1 / 0 }}", "{{ 'a' + 1 }}", "{{ [].pop() }}", "{{ x.y.z }}", "{{ lipsum }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ {}['\\x00\\ud800'].x }}", "{{ '\\ud800' }}",
    ],
)  # fmt: skip
def test_a_preview_that_goes_wrong_is_refused(text: str) -> None:
    letter = Letter.model_validate({"from": "a@b.test", "text": text})
    with pytest.raises(TemplateInvalid) as refused:
        preview(StoredLetter(letter=letter, is_template=True), {"x": {}})
    assert storable(str(refused.value)) == str(refused.value), "it can be told"


@pytest.mark.parametrize("place", ["subject", "text", "html"])
def test_half_a_character_is_made_by_no_template(place: str) -> None:
    letter = Letter.model_validate({"from": "a@b.test", "subject": "s", "text": "t", place: "<p>{{ '\\ud800' }}"})
    with pytest.raises(TemplateInvalid, match="half a character"):
        preview(StoredLetter(letter=letter, is_template=True), {})


def test_programs_of_templates_reach_nothing_but_their_variables() -> None:
    for text in ("{{ ''.__class__ }}", "{{ x.append(1) }}", "{{ cycler.__init__.__globals__ }}"):
        (message,) = made({"text": text}, {"x": []}, is_template=True)
        assert message.problem is not None
        assert message.problem.endswith("it must not be used in a template.")


def test_where_a_process_of_its_own_is_needed() -> None:
    plain = {"from": "a@b.test", "text": "x"}
    heads = [({"letter": plain}, False), ({"letter": plain, "is_template": True}, True)]
    heads.append(({"letter": plain | {"html": "<p>x</p>"}}, True))
    for head, needed in heads:
        assert needs_sandbox(StoredLetter.model_validate(head)) is needed
