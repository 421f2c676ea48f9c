"""Budgets of a JSON text: how many values it may have, how deeply nested, and with numbers how long.

Three bytes of JSON can become an object of two hundred bytes. So values are counted in the text, before there is
any object. Only what stands between strings counts. A few passes in C find it, and all of them take time in
proportion to the length of the text, whatever is in it. What comes after the first error of a text that is not
JSON may be misread here: a parser builds nothing of it.
"""

from itertools import accumulate
from math import isinf

from services.gateway.problems import BadRequest, TooLarge

VALUES_AT_MOST = 100_000
"""The values of a body for which nothing else is said: objects, arrays, strings, numbers, true, false and null."""
LETTER_VALUES_AT_MOST = 250_000
"""Those of a letter: twenty variables for each of 10,000 recipients, and some."""
EVENTS_VALUES_AT_MOST = 250_000
"""Those of events: 250 for each of a thousand, so that the worker rejects one that has too many by itself."""
DEPTH_AT_MOST = 200
"""Arrays and objects within each other. The parser goes one deeper."""
EVENTS_DEPTH_AT_MOST = 32
"""The same, in a body with events."""
NUMBER_AT_MOST = 1_000
"""The characters of a number. Reading and writing a whole number takes the square of its length."""
WORDS = (
    f"At most {VALUES_AT_MOST:,} values ({LETTER_VALUES_AT_MOST:,} in a letter or with events), nested "
    f"{DEPTH_AT_MOST} deep ({EVENTS_DEPTH_AT_MOST} with events), with numbers of {NUMBER_AT_MOST:,} characters. "
    "What exceeds that is answered 413 with the member "
    "`max_values`, `max_depth` or `max_digits`; a body with too many bytes, with `max_bytes`."
)
"""For the description of the API."""
_SHORTEST_OVERFLOW = len("1e309")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NUMBERS_ONLY = bytes(byte if byte in b"0123456789+-.eE" else ord(" ") for byte in range(256))


def check(
    text: bytes, *, within: str, values_at_most: int = VALUES_AT_MOST, depth_at_most: int = DEPTH_AT_MOST
) -> None:
    """Raises TooLarge if `text` exceeds a budget, and BadRequest if it has NaN or infinity, which are not JSON."""
    text = _without_escapes(text)
    if text.count(b'"') > 4 * values_at_most:  # a value has two quotes, and its name two more
        raise _too_many_values(values_at_most, within)
    between = _between_quotes(text)
    opened = between.count(b"[") + between.count(b"{")
    if between.count(b",") + opened >= values_at_most:  # a value comes first in its container, or after a comma
        raise _too_many_values(values_at_most, within)
    if opened > depth_at_most and _depth(between) > depth_at_most:
        raise TooLarge(f"The {within} may be nested {depth_at_most} deep at most.", max_depth=depth_at_most)
    if b"N" in between or b"I" in between:
        raise BadRequest(f"The {within} is not JSON: NaN and Infinity are no numbers.")
    numbers = between.translate(_NUMBERS_ONLY).split()
    for number in numbers:
        if len(number) >= _SHORTEST_OVERFLOW:
            _check_number(number, within)


def _without_escapes(text: bytes) -> bytes:
    """`text` without escaped quotes, which end no string."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def _between_quotes(text: bytes) -> bytes:
    return b" ".join(text.split(b'"')[::2])


def _depth(between: bytes) -> int:
    return max(accumulate(map(_STEPS.__getitem__, between.translate(None, _NOT_BRACKETS))), default=0)


def _check_number(number: bytes, within: str) -> None:
    if len(number) > NUMBER_AT_MOST:
        raise TooLarge(
            f"A number in the {within} may have at most {NUMBER_AT_MOST} characters.", max_digits=NUMBER_AT_MOST
        )
    try:
        is_infinite = isinf(float(number))
    except ValueError:  # no number: the parser will say where
        return
    if is_infinite and not number.removeprefix(b"-").isdigit():  # whole numbers are not read as doubles
        raise BadRequest(f"The {within} is not JSON: a number is beyond the range of doubles.")


def _too_many_values(values_at_most: int, within: str) -> TooLarge:
    return TooLarge(f"The {within} may have at most {values_at_most} values.", max_values=values_at_most)
