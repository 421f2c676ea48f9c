"""A letter and a recipient to a message: templates filled in, text made from HTML, MIME put together.

Templates are their author's programs, so this runs in the sandbox for all recipients of a part at once; a
letter without templates and HTML is put together on the spot.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import css_inline
import inscriptis
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import from_json

from libs.common.contracts.mail import Mailbox, StoredLetter, parse_mailbox
from services.mailer.compose.header_fields import addresses, field
from services.mailer.compose.mime import entity
from services.mailer.refusals import TemplateInvalid

CHARACTERS_AT_MOST = 2_000_000
"""Of a filled-in body."""
SUBJECT_AT_MOST = 998
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""All that Python's own email package takes for the end of a line, and more."""
_STYLES = re.compile(r"<style", re.IGNORECASE)
_STYLIST = css_inline.CSSInliner(load_remote_stylesheets=False)


@dataclass(frozen=True, slots=True)
class Addressee:
    """A recipient as the message needs to know them. `variables`: in JSON; `unsubscribe`: their link, if any."""

    number: int
    mailbox: Mailbox
    variables: str
    message_id: str
    unsubscribe: str | None = None


@dataclass(frozen=True, slots=True)
class Composed:
    """A message, with CRLF; or why there is none."""

    number: int
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Texts:
    """A letter's words for one recipient."""

    subject: str
    text: str
    html: str | None


Fill = Callable[[dict[str, Any]], Texts]


def needs_sandbox(head: StoredLetter) -> bool:
    """Whether somebody else's program, or markup of any depth, has to be worked on."""
    return head.is_template or head.letter.html is not None


def compose(head: StoredLetter, addressees: Sequence[Addressee], date: str) -> list[Composed]:
    """A message for each. `date`: of the field. Raises TemplateInvalid."""
    fill = _templates(head) if head.is_template else _as_it_is(head)
    return [_composed(head, addressee, fill, date) for addressee in addressees]


def preview(head: StoredLetter, variables: dict[str, Any]) -> Texts:
    """The words for somebody with these `variables`. Raises TemplateInvalid."""
    fill = _templates(head) if head.is_template else _as_it_is(head)
    try:
        return fill(variables)
    except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise TemplateInvalid(f"{type(error).__name__}: {error}") from error


def check(head: StoredLetter) -> None:
    """Whether its templates can be read. Raises TemplateInvalid."""
    _templates(head)


def _composed(head: StoredLetter, addressee: Addressee, fill: Fill, date: str) -> Composed:
    try:
        variables: dict[str, Any] = from_json(addressee.variables)
        if addressee.unsubscribe is not None:
            variables.setdefault("unsubscribe_url", addressee.unsubscribe)
        return Composed(addressee.number, _message(head, addressee, fill(variables), date))
    except Exception as error:  # a template's program may go wrong in any way
        return Composed(addressee.number, problem=f"{type(error).__name__}: {error}"[:500])


def _message(head: StoredLetter, addressee: Addressee, texts: Texts, date: str) -> bytes:
    letter = head.letter
    to = [parse_mailbox(address) for address in head.to] if head.to else [addressee.mailbox]
    lines = [
        addresses("From", [parse_mailbox(letter.sender)]),
        addresses("To", to),
    ]
    if head.cc:
        lines.append(addresses("Cc", [parse_mailbox(address) for address in head.cc]))
    if letter.reply_to:
        lines.append(addresses("Reply-To", [parse_mailbox(letter.reply_to)]))
    lines += [
        field("Subject", texts.subject),
        field("Date", date),
        field("Message-ID", addressee.message_id),
    ]
    if addressee.unsubscribe is not None:
        lines.append(field("List-Unsubscribe", f"<{addressee.unsubscribe}>"))
        lines.append(field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    lines += [field(name, value) for name, value in letter.headers.items()]
    return b"".join(lines) + entity(texts.text, texts.html)


def _as_it_is(head: StoredLetter) -> Fill:
    letter = head.letter
    html = None if letter.html is None else _styled(letter.html)
    texts = Texts(letter.subject, letter.text if letter.text is not None else _text_of(html), html)
    return lambda _variables: texts


def _templates(head: StoredLetter) -> Fill:
    """What fills in all three. Values are escaped in HTML, and cannot begin a line of the header."""
    letter = head.letter
    plain = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    markup = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=True, keep_trailing_newline=True)
    subject = _compiled(plain, "subject", letter.subject)
    text = None if letter.text is None else _compiled(plain, "text", letter.text)
    html = None if letter.html is None else _compiled(markup, "html", letter.html)

    def fill(variables: dict[str, Any]) -> Texts:
        line = _CONTROL.sub(" ", _bounded(subject.render(variables), SUBJECT_AT_MOST))
        styled = None if html is None else _styled(_bounded(html.render(variables), CHARACTERS_AT_MOST))
        words = _text_of(styled) if text is None else _bounded(text.render(variables), CHARACTERS_AT_MOST)
        return Texts(line, words, styled)

    return fill


def _compiled(environment: ImmutableSandboxedEnvironment, name: str, source: str) -> Template:
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateInvalid(f"{name}, line {error.lineno}: {error.message}") from error
    except (RecursionError, SyntaxError, ValueError) as error:
        raise TemplateInvalid(f"{name}: {error}") from error


def _bounded(text: str, at_most: int) -> str:
    if len(text) > at_most:
        raise ValueError(f"more than {at_most} characters when filled in")
    return text


def _styled(html: str) -> str:
    """With what <style> says brought to the elements: many mail programs read only that."""
    return _STYLIST.inline(html) if _STYLES.search(html) else html


def _text_of(html: str | None) -> str:
    return inscriptis.get_text(html).strip() + "\n" if html else ""
