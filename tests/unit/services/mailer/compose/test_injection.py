"""S15 and S19: what is no template is never run, what is one reaches nothing, and composing opens no address."""

import json
import re
import socket
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from libs.common.contracts.mail import AttachedFile, Mailbox, StoredLetter, parse_mailbox
from services.mailer.compose.attachments import AttachmentParts, _part
from services.mailer.compose.content import Addressee, Composed, compose, preview
from services.mailer.refusals import TemplateInvalid

PROGRAMS = (
    "{{7*7}}",
    "{{ 7 * '7' }}",
    "{{ x|attr('format') }}",
    "{% for n in range(9) %}{{ n }}{% endfor %}",
    "{% set y = 49 %}{{ y }}",
    "{% raw %}x{% endraw %}",
    "{# left out #}",
    "{{ secret }}",
    "${7*7}",
    "#{7*7}",
    "%(secret)s",
    "{secret}",
)
SECRET = "hush"  # noqa: S105
ESCAPES = (
    "{{ x.__class__.__mro__ }}",
    "{{ x['__class__'] }}",
    "{{ x|attr('__class__') }}",
    r"{{ x|attr('\x5f\x5fclass\x5f\x5f') }}",
    "{{ x|attr('__cla' ~ 'ss__') }}",
    "{{ [x]|map(attribute='__class__')|list }}",
    "{{ [x]|map('attr', '__class__')|list }}",
    "{{ [x]|groupby('__class__') }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '{0.__class__}'.format_map({'0': x}) }}",
    "{{ (x|attr('format'))('{0.__class__}') }}",
    "{{ ('{0.__class__}'|attr('format'))(x) }}",
    "{% set f = '{0.__class__.__init__.__globals__}'.format %}{{ f(x) }}",
    "{{ ['{0.__class__}'.format][0](x) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__class__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ caller.__globals__ }}",
    "{{ (x.upper).__self__ }}",
    "{{ x.upper.__call__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{{ config }}{{ request }}",
    "{{ __builtins__ }}{{ __import__('os') }}",
    "{{ range(1000000)|list }}",
)
"""Ways out of templates that are known of Jinja2, also in versions before ours."""


def composed(letter: Mapping[str, object], variables: Mapping[str, object], **more: object) -> Composed:
    """The message to one recipient."""
    stored = StoredLetter.model_validate({"letter": {"from": "office@argosy.test", **letter}, **more})
    addressee = Addressee(0, Mailbox("", "ada@example.test"), json.dumps(variables), "<1@argosy.test>")
    (made,) = compose(stored, [addressee], "Thu, 01 Jan 1970 00:00:00 +0000")
    return made


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


@pytest.mark.parametrize("is_template", [True, False])
@pytest.mark.parametrize("program", PROGRAMS)
def test_s19_what_is_no_template_is_sent_as_it_was_written(program: str, is_template: bool) -> None:
    """Every field but subject, text and html of a letter with templates; in other letters these too."""
    texts = {"subject": "{{ x }}", "text": "{{ x }}\n", "html": "<p>{{ x }}</p>"}
    if not is_template:
        texts = {name: text.replace("{{ x }}", program) for name, text in texts.items()}
    made = composed(
        texts
        | {
            "from": f"{program} <office@argosy.test>",
            "reply_to": f"{program} <reply@argosy.test>",
            "headers": {"X-Port": program, "Keywords": program},
        },
        {"x": program, "secret": SECRET, program: program},
        is_template=is_template,
        to=[f"{program} <ada@example.test>"],
        cc=[f"{program} <bob@example.test>"],
    )
    assert made.problem is None
    message = parsed(made.content)
    for name in ("From", "Reply-To", "To", "Cc"):
        assert message[name].addresses[0].display_name == program
    assert [message["X-Port"], message["Keywords"], message["Subject"]] == [program] * 3
    assert body(message, "plain").strip() == program
    shown = body(message, "html")
    assert re.sub("&#39;", "'", shown).strip() == f"<p>{program}</p>"
    assert SECRET.encode() not in made.content


@pytest.mark.parametrize("program", PROGRAMS)
def test_s19_names_of_files_are_no_templates(program: str) -> None:
    file = AttachedFile(key="k", filename=program, media_type="text/plain")
    made = composed({"text": "{{ x }}"}, {"x": "x", "secret": SECRET}, is_template=True)
    message = parsed(AttachmentParts(attached=(_part(file, b"{{7*7}}"),)).wrap(made.content))
    (attached,) = message.iter_attachments()
    assert attached.get_filename() == program
    assert attached.get_content() == "{{7*7}}"


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("field", ["subject", "text", "html"])
def test_s19_a_template_reaches_nothing_but_its_variables(field: str, escape: str) -> None:
    """It fails, or what it prints has nothing of the interpreter or of the machine."""
    letter = {"from": "office@argosy.test", "text": "x", field: escape}
    stored = StoredLetter.model_validate({"letter": letter, "is_template": True})
    try:
        rendered = preview(stored, {"x": "x"})
    except TemplateInvalid:
        return
    shown = f"{rendered.subject}{rendered.text}{rendered.html}"
    assert not re.search(r"class|globals|module|function|built-in|0x|root:|environ", shown), shown


@pytest.mark.parametrize("name", ["{{7*7}}", "{{ x }} <a@b.test>", "{% if x %}a@b.test{% endif %}"])
def test_s19_an_address_is_no_template(name: str) -> None:
    try:
        assert parse_mailbox(name).address == "a@b.test"
    except ValueError:
        return
    assert parse_mailbox(name).name == "{{ x }}"


@pytest.mark.parametrize("is_template", [True, False])
def test_s15_a_letter_has_no_address_opened(is_template: bool, tmp_path: Path) -> None:
    """Stylesheets and images of its HTML, on the network or on the disk, are left to who reads it."""
    (tmp_path / "own.css").write_text("p { color: #123456 }")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"http://127.0.0.1:{listening.getsockname()[1]}"
        html = (
            f"<html><head><style>@import url('{place}/a.css'); b {{ color: red }}</style>"
            f"<link rel='stylesheet' href='{place}/b.css'><link rel='stylesheet' href='{tmp_path}/own.css'>"
            f"<link rel='stylesheet' href='{(tmp_path / 'own.css').as_uri()}'></head>"
            f"<body><p>x</p><b>y</b><img src='{place}/c.png'><iframe src='{place}/d'></iframe></body></html>"
        )
        made = composed({"html": html}, {}, is_template=is_template)
        assert made.problem is None
        assert "color: red" in body(parsed(made.content), "html"), "styles were inlined"
        assert "#123456" not in body(parsed(made.content), "html")
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
