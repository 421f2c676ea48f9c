"""Whatever a template does, it prints values, or fails: nothing is printed with its address in memory."""

import re

import pytest

from services.mailer.compose.template_environment import NO_TEXT, TemplateEnvironment

ADDRESS = re.compile(r"0x[0-9a-f]{6,}", re.IGNORECASE)
OBJECTS = [
    "lipsum", "range", "cycler(1)", "joiner()", "cycler(1).next", "dict.fromkeys", "''.upper", "''['upper']",
    "[].index", "{}.get", "(1).bit_length", "'a'.format", "'a'.format_map", "('a'|escape).format",
]  # fmt: skip
WAYS = [
    "{{ %s }}", "{{ [%s] }}", "{{ {'a': %s} }}", "{{ (%s)|string }}", "{{ (%s) ~ '' }}", "{{ '%%s' %% (%s) }}",
    "{{ '{}'.format(%s) }}", "{{ '{a}'.format_map({'a': %s}) }}", "{{ (%s)|pprint }}", "{{ (%s)|upper }}",
    "{{ [%s]|join }}", "{{ (%s)|tojson }}", "{{ {}[%s] }}", "{{ namespace(a=%s) }}", "{{ (%s)|urlencode }}",
    "{{ '%%s'|format(%s) }}", "{{ [%s]|map('string')|first }}", "{%% set a %%}{{ %s }}{%% endset %%}{{ a }}",
    "{%% macro m(a) %%}{{ a }}{%% endmacro %%}{{ m(%s) }}", "{{ (%s)|replace('0x', '') }}", "{{ nothing[%s] }}",
]  # fmt: skip


@pytest.fixture(params=[False, True], ids=["text", "html"])
def environment(request: pytest.FixtureRequest) -> TemplateEnvironment:
    return TemplateEnvironment(autoescape=request.param)


def rendered(environment: TemplateEnvironment, source: str) -> str:
    """The text, or what went wrong."""
    try:
        return environment.from_string(source).render({"words": ["a", "b"]})
    except Exception as error:  # a template can fail in any way
        return str(error)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_value_is_not_printed(environment: TemplateEnvironment, way: str) -> None:
    for thing in OBJECTS:
        said = rendered(environment, way % thing)
        assert NO_TEXT in said or "not JSON serializable" in said or "is not given" in said, said
        assert not ADDRESS.search(said)


def test_no_filter_gives_what_is_no_value(environment: TemplateEnvironment) -> None:
    for name in environment.filters:
        for subject in ("words", "'a'", "{'a': 1}", "3", "lipsum", "words|map(attribute='upper')"):
            for arguments in ("", "(2)", "('upper')", "(attribute='upper')"):
                said = rendered(environment, f"{{{{ {subject}|{name}{arguments} }}}}")
                assert not ADDRESS.search(said), name


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ words|map('upper') }}", "['A', 'B']"),
        ("{{ words|reverse|join }}", "ba"),
        ("{{ words|batch(1)|list|length }}", "2"),
        ("{{ '{0}-{0.imag}'.format(1) }}", "1-0"),
        ("{{ 'a'.upper() }}{{ words.index('b') }}{{ dict.fromkeys([1]) }}", "A1{1: None}"),
        ("{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.current }}", "121"),
        ("{% set j = joiner(', ') %}{% for w in words %}{{ j() }}{{ w }}{% endfor %}", "a, b"),
        ("{% for w in words %}{{ loop.cycle(1, 2) }}{{ loop.changed(w) }}{% endfor %}", "1True2True"),
        ("{% block x %}b{% endblock %}{{ self.x() }}", "bb"),
        ("{{ range(3)|sum }}{{ lipsum(1)|length > 9 }}{{ lipsum is callable }}", "3TrueTrue"),
        ("{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}{{ m is callable }}", "xTrue"),
    ],
)
def test_all_else_is_jinja2(source: str, text: str) -> None:
    assert rendered(TemplateEnvironment(autoescape=False), source) == text


def test_a_block_is_called_too(environment: TemplateEnvironment) -> None:
    assert rendered(environment, "{% block x %}{% endblock %}{{ self.x }}") == NO_TEXT


def test_a_format_sees_no_more_than_the_template(environment: TemplateEnvironment) -> None:
    for source in ("{{ '{0.__class__}'.format(1) }}", "{{ '{a.__class__}'.format_map({'a': 1}) }}"):
        assert "unsafe" in rendered(environment, source)
