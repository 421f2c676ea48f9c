"""JMESPath, compiled once for a page. What only names fields is looked up without the interpreter."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jmespath
from jmespath.exceptions import (
    ArityError,
    EmptyExpressionError,
    IncompleteExpressionError,
    JMESPathError,
    JMESPathTypeError,
    LexerError,
    ParseError,
    UnknownFunctionError,
)

SHOWN = 40
"""Characters of an expression that are shown where it cannot be read."""
Find = Callable[[Any], Any]
"""What an expression finds in a value; None if there is nothing. Raises ExpressionFailed."""


class ExpressionFailed(Exception):
    """An expression cannot be read, or not be applied to a value. The message says where, or why."""


def find(expression: str) -> Find:
    """Compile an expression. Raises ExpressionFailed where it is not JMESPath."""
    path = plain_path(expression)
    if path is None:
        search = _parsed(expression).search
        return lambda value: _searched(search, value)
    if len(path) == 1:
        name = path[0]
        return lambda value: value.get(name) if isinstance(value, dict) else None
    return lambda value: _walked(path, value)


def plain_path(expression: str) -> tuple[str, ...] | None:
    """The names of an expression such as `data.items`; None if it is more than that. Raises ExpressionFailed."""
    names = list(_names(_parsed(expression).parsed))
    return None if None in names else tuple(map(str, names))


def needs_only_ends(expression: str, records: tuple[str, ...]) -> bool:
    """Whether an expression about a page needs no records of `records` but the first and the last."""
    nodes = list(_nodes(_parsed(expression).parsed))
    if all(node["type"] != "field" or node["value"] != records[-1] for node in nodes):
        return True
    simple = all(node["type"] in ("field", "subexpression", "index_expression", "index") for node in nodes)
    return simple and all(node["value"] in (0, -1) for node in nodes if node["type"] == "index")


def _parsed(expression: str) -> Any:
    try:
        return jmespath.compile(expression)
    except (JMESPathError, RecursionError, ValueError) as error:
        raise ExpressionFailed(_what_is_wrong(expression, error)) from None


def _what_is_wrong(expression: str, error: Exception) -> str:
    """Where an expression cannot be read, in our words: the library's have a drawing."""
    match error:
        case ArityError():
            return f"`{error.function_name}` takes another number of arguments."
        case IncompleteExpressionError():
            return f"It ends too early: `{expression[-SHOWN:]}`."
        case LexerError():
            return f"It cannot be read from here: `{expression[error.lexer_position :][:SHOWN]}`."
        case ParseError():
            return f"It cannot be read from here: `{expression[error.lex_position :][:SHOWN]}`."
        case EmptyExpressionError():
            return "It is empty."
    return "It is nested too deeply, or has a number that is too long."


def _names(node: Mapping[str, Any]) -> Iterator[str | None]:
    if node["type"] == "field":
        yield node["value"]
    elif node["type"] == "subexpression":
        for child in node["children"]:
            yield from _names(child)
    else:
        yield None


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("children", ()):
        if isinstance(child, dict):
            yield from _nodes(child)


def _walked(path: tuple[str, ...], value: Any) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _searched(search: Callable[[Any], Any], value: Any) -> Any:
    try:
        return search(value)
    except UnknownFunctionError:
        raise ExpressionFailed("It calls a function that there is not.") from None
    except ArityError as error:
        raise ExpressionFailed(f"`{error.function_name}` takes another number of arguments.") from None
    except JMESPathTypeError as error:
        kinds = ", ".join(error.expected_types)
        raise ExpressionFailed(f"`{error.function_name}` is given a value of another type than {kinds}.") from None
    except (JMESPathError, RecursionError, ValueError, TypeError, ArithmeticError):
        raise ExpressionFailed("A value is too large, nested too deeply, or of another type.") from None
