"""What is wrong with a template is told in our words, with the part and the line."""

import re
from typing import Any

import pytest

from libs.common.contracts.mail import Letter, StoredLetter
from services.mailer.compose.content import preview
from services.mailer.refusals import TemplateInvalid

READING = {
    "{{ name": "Something that began is not ended. The line is: {{ name",
    "{% if a %}b": "Something that began is not ended. The line is: {% if a %}b",
    "{# never": "Something that began is not ended. The line is: {# never",
    "{{ a|shout }}": "There is no filter `shout`. The line is: {{ a|shout }}",
    "{{ a is loud }}": "There is no test `loud`. The line is: {{ a is loud }}",
    "{% shout %}": "There is no tag `shout`, or not in this place. The line is: {% shout %}",
    "{{ a b }}": "It cannot be read here: `end of print statement` is missing, or there is too much before it."
    " The line is: {{ a b }}",
    "{{ }}": "It cannot be read here. The line is: {{ }}",
}
RENDERING = {
    "{{ name }}": "The variable `name` is not given.",
    "{{ ada.email }}": "There is no `email` in the value before it.",
    "{{ [1][7] + 1 }}": "There is no `7` in the value before it.",
    "{{ []|first + 1 }}": "A value that is needed here is not there.",
    "{{ 1 / 0 }}": "Something is divided by 0.",
    "{{ 1 + 'a' }}": "A value is of a kind for which this cannot be done.",
    "{{ ''.__class__ }}": "This is unsafe, so it must not be used in a template.",
    "{{ range }}": "A function or an object of Jinja2 is no text; call it, or use one of its attributes.",
    "{{ 'a' * 3000000 }}": "It makes more than 2,000,000 characters.",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "It calls itself too often, or is nested too deeply.",
}


def mistake(text: str, variables: dict[str, Any]) -> str:
    """What the caller is told of a letter with this text."""
    letter = Letter.model_validate({"from": "a@a.test", "subject": "Tides", "text": text})
    with pytest.raises(TemplateInvalid) as refused:
        preview(StoredLetter(letter=letter, is_template=True), variables)
    return str(refused.value)


@pytest.mark.parametrize("template", READING)
def test_what_cannot_be_read(template: str) -> None:
    assert mistake(f"Ahoy\n{template}", {}) == f"text, line 2: {READING[template]}"


@pytest.mark.parametrize("template", RENDERING)
def test_what_cannot_be_rendered(template: str) -> None:
    told = mistake(f"Ahoy\n{template}", {"ada": {"name": "Ada"}})
    assert re.sub("^text(, line 2)?: ", "", told) == RENDERING[template]


def test_what_is_nested_too_deeply() -> None:
    assert mistake("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", {}).startswith("text: It is nested too deeply")
