"""What is wrong with a template, in our words, with its part and line. Jinja2's speak of Python, and change."""

import re

from jinja2 import TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError

from services.mailer.compose.template_environment import UNSAFE, NotText

SHOWN = 80
"""Characters of the line that is shown."""
_FILE = "<template>"
"""What Jinja2 calls the file of a template in a traceback."""
_WHAT_JINJA_MEANS = {
    r"No filter named '(.+?)'": "There is no filter `{}`.",
    r"No test named '(.+?)'": "There is no test `{}`.",
    r"Encountered unknown tag '(.+?)'": "There is no tag `{}`, or not in this place.",
    r"Unexpected end of template|unexpected end of template|Missing end of": "Something that began is not ended.",
    r"expected token '(.+?)', got": "It cannot be read here: `{}` is missing, or there is too much before it.",
}
"""Sentences by what is found in a message of Jinja2."""
_OTHERWISE = "It cannot be read here."
_RENDERING: tuple[tuple[type[Exception], str], ...] = (
    (SecurityError, UNSAFE),
    (ZeroDivisionError, "Something is divided by 0."),
    (RecursionError, "It calls itself too often, or is nested too deeply."),
    (UnicodeError, "It makes a text that has half a character."),
    (TypeError, "A value is of a kind for which this cannot be done."),
    (LookupError, "Something is looked up that is not there."),
    (ArithmeticError, "A number is too large."),
)


class NotRenderable(Exception):
    """What a template makes cannot be sent. The message is ours."""


def of_reading(part: str, source: str, error: Exception) -> str:
    """Why the template `source`, which is `part` of a letter, cannot be read."""
    if not isinstance(error, TemplateSyntaxError):
        return f"{part}: It is nested too deeply, or has a number that is too long."
    lines = source.splitlines()
    shown = lines[error.lineno - 1].strip()[:SHOWN] if 0 < error.lineno <= len(lines) else ""
    quoted = f" The line is: {shown}" if shown else ""
    return f"{part}, line {error.lineno}: {_meaning(str(error.message))}{quoted}"


def of_rendering(part: str, error: Exception) -> str:
    """Why a template that can be read made nothing of the variables."""
    line = _line_of(error)
    return f"{part}{f', line {line}' if line else ''}: {_reason(error)}"


def _meaning(message: str) -> str:
    for pattern, words in _WHAT_JINJA_MEANS.items():
        if found := re.search(pattern, message):
            return words.format(*found.groups())
    return _OTHERWISE


def _reason(error: Exception) -> str:
    if isinstance(error, NotRenderable | NotText) or type(error) is UndefinedError:
        return str(error)  # these words are ours: see template_environment.py
    return next((words for kind, words in _RENDERING if isinstance(error, kind)), "This cannot be done.")


def _line_of(error: Exception) -> int | None:
    """The line of the template, of which Jinja2 has made the traceback speak; None if it was not in it."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
