"""Composes the message for a recipient: renders the templates, derives text from HTML, builds header and body.

Templates are programs written by users, so composing runs in a sandboxed process, for all recipients of a slice at
once. A letter without templates and HTML is composed in the worker itself.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import css_inline
import inscriptis
from jinja2 import TemplateSyntaxError
from pydantic_core import from_json

from libs.common.contracts.mail import Mailbox, StoredLetter, parse_mailbox
from libs.common.errors import storable
from services.mailer.compose import template_mistakes
from services.mailer.compose.header_fields import addresses, field
from services.mailer.compose.mime import entity
from services.mailer.compose.template_environment import TemplateEnvironment
from services.mailer.compose.template_mistakes import NotRenderable
from services.mailer.refusals import TemplateInvalid

CHARACTERS_AT_MOST = 2_000_000
"""Characters of a rendered body."""
SUBJECT_AT_MOST = 998
"""Characters of a rendered subject."""
NO_MESSAGE = "What the templates make cannot be written as a message: look at its HTML and styles."
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""Control characters and line separators: all that Python's email package treats as a line end, and more."""
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_STYLE_TAG = re.compile(r"<style", re.IGNORECASE)
_CSS_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False)


@dataclass(frozen=True, slots=True)
class Addressee:
    """A recipient as the message needs it. `variables`: JSON; `unsubscribe`: the unsubscribe URL, if any."""

    number: int
    mailbox: Mailbox
    variables: str
    message_id: str
    unsubscribe: str | None = None


@dataclass(frozen=True, slots=True)
class Composed:
    """The composed message with CRLF line ends, or in `problem` the reason why it could not be composed."""

    number: int
    content: bytes = b""
    problem: str | None = None
    cpu_s: float = 0.0
    """Seconds of CPU that it took."""


@dataclass(frozen=True, slots=True)
class RenderedLetter:
    """Subject and bodies of a letter, rendered for one recipient."""

    subject: str
    text: str
    html: str | None


Render = Callable[[dict[str, Any]], RenderedLetter]


def needs_sandbox(stored: StoredLetter) -> bool:
    """Whether composing runs templates or parses HTML, both of which are untrusted input."""
    return stored.is_template or stored.letter.html is not None


def compose(stored: StoredLetter, addressees: Sequence[Addressee], date: str) -> Iterator[Composed]:
    """Compose a message for each addressee. `date`: the value of Date. Raises TemplateInvalid, MemoryError."""
    begun = time.process_time()
    render = _prepare(stored)
    for addressee in addressees:
        composed = _composed(stored, addressee, render, date)
        yield replace(composed, cpu_s=time.process_time() - begun)
        begun = time.process_time()


def preview(stored: StoredLetter, variables: dict[str, Any]) -> RenderedLetter:
    """Render the letter with `variables`. Raises TemplateInvalid, also if rendering fails."""
    render = _prepare(stored)
    try:
        return render(variables)
    except NotRenderable as error:
        raise TemplateInvalid(storable(str(error))) from error
    except MemoryError:  # the sandbox has a word for it
        raise
    except Exception as error:  # what a template makes can be anything
        raise TemplateInvalid(NO_MESSAGE) from error


def check(stored: StoredLetter) -> None:
    """Do what is done once for all recipients. Raises TemplateInvalid if a template cannot be compiled."""
    _prepare(stored)


def _prepare(stored: StoredLetter) -> Render:
    return _compile_templates(stored) if stored.is_template else _fixed_text(stored)


def _composed(stored: StoredLetter, addressee: Addressee, render: Render, date: str) -> Composed:
    try:
        variables: dict[str, Any] = from_json(addressee.variables)
        if addressee.unsubscribe is not None:
            variables.setdefault("unsubscribe_url", addressee.unsubscribe)
        return Composed(addressee.number, _message(stored, addressee, render(variables), date))
    except MemoryError:  # what is left of it could be too little for the next one
        raise
    except NotRenderable as error:
        return Composed(addressee.number, problem=str(error)[:500])
    except Exception:  # what a template makes can be anything
        return Composed(addressee.number, problem=NO_MESSAGE)


def _message(stored: StoredLetter, addressee: Addressee, rendered: RenderedLetter, date: str) -> bytes:
    letter = stored.letter
    to = [parse_mailbox(address) for address in stored.to] if stored.to else [addressee.mailbox]
    lines = [
        addresses("From", [parse_mailbox(letter.sender)]),
        addresses("To", to),
    ]
    if stored.cc:
        lines.append(addresses("Cc", [parse_mailbox(address) for address in stored.cc]))
    if letter.reply_to:
        lines.append(addresses("Reply-To", [parse_mailbox(letter.reply_to)]))
    lines += [
        field("Subject", rendered.subject),
        field("Date", date),
        field("Message-ID", addressee.message_id),
    ]
    if addressee.unsubscribe is not None:
        lines.append(field("List-Unsubscribe", f"<{addressee.unsubscribe}>"))
        lines.append(field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    lines += [field(name, value) for name, value in letter.headers.items()]
    return b"".join(lines) + entity(rendered.text, rendered.html)


def _fixed_text(stored: StoredLetter) -> Render:
    letter = stored.letter
    html = None if letter.html is None else _inline_styles(letter.html)
    rendered = RenderedLetter(
        letter.subject, letter.text if letter.text is not None else _html_to_text(html), html
    )
    return lambda _variables: rendered


def _compile_templates(stored: StoredLetter) -> Render:
    """Compile all templates. Values are escaped in HTML, and cannot start a new line in the subject."""
    letter = stored.letter
    plain, markup = TemplateEnvironment(autoescape=False), TemplateEnvironment(autoescape=True)
    subject = _compiled(plain, "subject", letter.subject, SUBJECT_AT_MOST)
    text = None if letter.text is None else _compiled(plain, "text", letter.text)
    html = None if letter.html is None else _compiled(markup, "html", letter.html)

    def render(variables: dict[str, Any]) -> RenderedLetter:
        line = _CONTROL.sub(" ", subject(variables))
        styled = None if html is None else _inline_styles(html(variables))
        return RenderedLetter(line, _html_to_text(styled) if text is None else text(variables), styled)

    return render


def _compiled(
    environment: TemplateEnvironment, part: str, source: str, at_most: int = CHARACTERS_AT_MOST
) -> Callable[[dict[str, Any]], str]:
    """The template `part` of a letter, which makes text of `at_most` characters. It raises NotRenderable."""
    try:
        template = environment.from_string(source)
    except (TemplateSyntaxError, RecursionError, SyntaxError, ValueError) as error:
        raise TemplateInvalid(template_mistakes.of_reading(part, source, error)) from error

    def render(variables: dict[str, Any]) -> str:
        try:
            return _limited(template.render(variables), at_most)
        except MemoryError:  # the sandbox has a word for it
            raise
        except Exception as error:  # a template can fail in any way
            raise NotRenderable(template_mistakes.of_rendering(part, error)) from error

    return render


def _limited(text: str, at_most: int) -> str:
    if len(text) > at_most:
        raise NotRenderable(f"It makes more than {at_most:,} characters.")
    if _HALF_CHARACTER.search(text):
        raise NotRenderable("It makes half a character (a lone surrogate).")
    return text


def _inline_styles(html: str) -> str:
    """Move the rules of <style> into style attributes, because many mail clients ignore <style>."""
    return _CSS_INLINER.inline(html) if _STYLE_TAG.search(html) else html


def _html_to_text(html: str | None) -> str:
    return inscriptis.get_text(html).strip() + "\n" if html else ""
