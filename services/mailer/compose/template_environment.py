"""Jinja2's sandbox for templates that users write. Nothing in it can be printed that is no value of a letter.

Python prints a function, a generator or most other objects with its address in memory. A letter must not have it:
it means nothing to its reader, and tells an attacker where things are.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NoReturn

from jinja2 import StrictUndefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, missing

NO_TEXT = "A function or an object of Jinja2 is no text; call it, or use one of its attributes."


UNSAFE = "This is unsafe, so it must not be used in a template."


class NotText(TypeError):
    """Something is printed that is no value of a letter."""


class Missing(StrictUndefined):
    """A value that is not there, which says so in our words as soon as it is used."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_exception is SecurityError:
            return UNSAFE
        if self._undefined_hint:
            return "A value that is needed here is not there."
        if self._undefined_obj is missing:
            return f"The variable `{self._undefined_name}` is not given."
        return f"There is no `{self._undefined_name}` in the value before it."


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with functions that can be called but not printed, and with lists instead of iterators."""

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(undefined=Missing, autoescape=autoescape, keep_trailing_newline=True)
        self.globals |= {name: _without_text(value) for name, value in self.globals.items()}
        self.globals |= {"cycler": _Cycler, "joiner": _Joiner}
        self.filters |= {name: _listing(filter_) for name, filter_ in self.filters.items()}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, or what is called by its name. A method is without text."""
        return _without_text(super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item, or an attribute of this name. A method is without text."""
        return _without_text(super().getitem(obj, argument))


class _Function:
    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __repr__(self) -> NoReturn:
        raise NotText(NO_TEXT)


class _Cycler(Cycler):
    __repr__ = _Function.__repr__


class _Joiner(Joiner):
    __repr__ = _Function.__repr__


def _without_text(value: Any) -> Any:
    """`value`; a function or method as an object that can be called only."""
    prints_well = isinstance(value, type | Undefined | Macro)  # as their names
    return _Function(value) if callable(value) and not prints_well else value


def _listing(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter like `filter_` that returns a list where that returns an iterator, such as a generator."""

    @wraps(filter_)  # also what it says to Jinja2 about its arguments
    def listed(*args: Any, **kwargs: Any) -> Any:
        result = filter_(*args, **kwargs)
        return list(result) if isinstance(result, Iterator) else result

    return listed
