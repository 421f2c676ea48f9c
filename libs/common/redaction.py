"""Blots secrets out of what is logged or told of an error: API keys, tokens, passwords in URLs, links to
unsubscribe and to files.

Callers put secrets where they do not belong, such as a path, and libraries quote the address that they were given.
So this looks at whole lines and documents, whatever part of them a secret is in.
"""

import re

KEY_PREFIX = "argosy_"
KEY_ID_LENGTH = 12
"""A key is `argosy_<env>_<id>_<secret>_<checksum>` (services/gateway/identity/key_format.py). The id is public."""
BLOT = "[redacted]"

_LETTER = "[A-Za-z0-9]"
_KEY_ID = f"{_LETTER}{{{KEY_ID_LENGTH}}}"
_DASH = "(?:_|%5[Ff])"
_CREDENTIAL = "[A-Za-z0-9._~+/=-]+"
_OF_URL = r"(?:[^\s\"'<>\\]|\\.)"
"""A character of a URL. In JSON some are written with a backslash."""
_SECRETS = {
    "earer": rf"([Bb]earer(?: |\+|%20)+){_CREDENTIAL}",
    "asic": rf"([Aa]uthorization[^A-Za-z0-9]{{1,6}}(?:b[^A-Za-z0-9])?[Bb]asic +){_CREDENTIAL}",
    # The secret behind a whole id, however short it was cut; or a whole secret, whatever the id.
    "argosy": rf"(argosy{_DASH}{_LETTER}+{_DASH}(?:{_KEY_ID}{_DASH}|{_LETTER}+{_DASH}(?={_LETTER}{{16}})))"
    rf"{_LETTER}+(?:{_DASH}{_LETTER}+)?",
    "eyJ": r"()eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?",  # a JWT: base64url of `{"`, and so on
    "://": rf"(://)(?:(?!/){_OF_URL})+(?=@)",
    "unsubscribe/": rf"(unsubscribe/){_OF_URL}+",
    "/download/": rf"(/download/){_OF_URL}+",
    "bounce-": r"(bounce-)[A-Za-z2-7]{48}",
}
"""By a text that each kind always has, which is quickly looked for: what it looks like, behind what is kept."""
_PATTERNS = [(mark.encode(), re.compile(pattern.encode())) for mark, pattern in _SECRETS.items()]
_BLOTTED = rb"\1" + BLOT.encode()


def redacted(text: bytes) -> bytes:
    """`text` without secrets. JSON stays JSON."""
    for mark, pattern in _PATTERNS:
        if mark in text:
            text = pattern.sub(_BLOTTED, text)
    return text
