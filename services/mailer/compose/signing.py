"""DKIM signatures (RFC 6376), RSA and Ed25519 (RFC 8463), relaxed in header and body, with `cryptography`."""

import base64
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SIGNED = (
    *("from", "to", "cc", "subject", "date", "message-id", "reply-to", "in-reply-to", "references"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("list-unsubscribe", "list-unsubscribe-post", "list-id", "feedback-id", "auto-submitted"),
)
"""Fields that are signed if they are there; RFC 8058 asks for both of List-Unsubscribe."""
ONCE_MORE = ("from", "to", "subject", "date", "message-id", "reply-to")
"""Signed once more than they are there, so that nobody can add another."""
SPACES = re.compile(rb"[ \t]+")
SPACES_AT_END = re.compile(rb"[ \t]+\r\n")
FOLDS = re.compile(rb"\r\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key, and where its public half can be found: <selector>._domainkey.<domain>."""

    domain: str
    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        """As in the tag a=."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, content: bytes) -> bytes:
        """The signature of `content`."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(content, PKCS1v15(), hashes.SHA256())
        return self.private.sign(hashlib.sha256(content).digest())


def load_keys(folder: Path) -> dict[tuple[str, str], list[Key]]:
    """By tenant and domain, from `<tenant>/<domain>/<selector>.pem`. Raises ValueError, OSError."""
    keys: dict[tuple[str, str], list[Key]] = {}
    for path in sorted(folder.glob("*/*/*.pem")):
        private = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
            raise ValueError(f"{path.name} is neither an RSA nor an Ed25519 key")
        domain, tenant = path.parent.name.lower(), path.parents[1].name
        keys.setdefault((tenant, domain), []).append(Key(domain, path.stem, private))
    return keys


def sign(content: bytes, keys: Sequence[Key]) -> bytes:
    """`content`, a message with CRLF, with one signature field for each key before it."""
    if not keys:
        return content
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    head, _, body = content.partition(b"\r\n\r\n")
    fields = _fields(head)
    digest = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
    names = [name for name in SIGNED for field, _ in fields if field == name]
    names += ONCE_MORE
    chosen = b"".join(_chosen(fields, names))
    signatures = [_signature(key, names, digest, chosen) for key in keys]
    return b"".join(signatures) + content


def _signature(key: Key, names: Sequence[str], digest: str, chosen: bytes) -> bytes:
    unsigned = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector}; t={int(time.time())};"
        f"\r\n h={':'.join(names)};\r\n bh={digest};\r\n b="
    ).encode()
    signed = chosen + b"dkim-signature:" + _relaxed(unsigned)
    signature = base64.b64encode(key.sign(signed)).decode()
    folded = "\r\n ".join(signature[at : at + 72] for at in range(0, len(signature), 72))
    return b"DKIM-Signature: " + unsigned + folded.encode() + b"\r\n"


def _fields(head: bytes) -> list[tuple[str, bytes]]:
    """Names in lower case, and values as they stand, folds and all."""
    lines = FOLDS.sub(b"\x00", head).split(b"\r\n")
    parts = (line.partition(b":") for line in lines)
    return [(name.decode("ascii", "replace").strip().lower(), value) for name, _, value in parts]


def _chosen(fields: Sequence[tuple[str, bytes]], names: Sequence[str]) -> list[bytes]:
    """The fields of these names in relaxed form: of several of a name the last first; none for one too many."""
    left = {name: [value for field, value in fields if field == name] for name in set(names)}
    return [
        name.encode() + b":" + _relaxed(left[name].pop().replace(b"\x00", b"\r\n")) + b"\r\n"
        for name in names
        if left[name]
    ]


def _relaxed(value: bytes) -> bytes:
    """RFC 6376, 3.4.2."""
    return SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376, 3.4.4."""
    body = SPACES.sub(b" ", SPACES_AT_END.sub(b"\r\n", body))
    return body.rstrip(b"\r\n") + b"\r\n" if body.strip(b"\r\n") else b""
