"""DKIM signatures (RFC 6376) with RSA or Ed25519 keys (RFC 8463), in relaxed/relaxed canonicalization."""

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
"""Fields that are signed if present. RFC 8058 requires both List-Unsubscribe fields."""
OVERSIGNED = ("from", "to", "subject", "date", "message-id", "reply-to")
"""Fields that are listed once more than they are present, so that nobody can add another one."""
SPACES = re.compile(rb"[ \t]+")
SPACES_AT_END = re.compile(rb"[ \t]+\r\n")
FOLDS = re.compile(rb"\r\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key. Its public key is published in DNS at <selector>._domainkey.<domain>."""

    domain: str
    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        """The value of the a= tag."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, content: bytes) -> bytes:
        """Sign `content`, and return the raw signature."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(content, PKCS1v15(), hashes.SHA256())
        return self.private.sign(hashlib.sha256(content).digest())


def load_keys(folder: Path) -> dict[tuple[str, str], list[Key]]:
    """Load keys from `<tenant>/<domain>/<selector>.pem`, by tenant and domain. Raises ValueError, OSError."""
    keys: dict[tuple[str, str], list[Key]] = {}
    for path in sorted(folder.glob("*/*/*.pem")):
        private = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
            raise ValueError(f"{path.name} is neither an RSA nor an Ed25519 key")
        domain, tenant = path.parent.name.lower(), path.parents[1].name
        keys.setdefault((tenant, domain), []).append(Key(domain, path.stem, private))
    return keys


def sign(content: bytes, keys: Sequence[Key]) -> bytes:
    """Return `content`, a message with CRLF line ends, with one DKIM-Signature field per key in front."""
    if not keys:
        return content
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    header, _, body = content.partition(b"\r\n\r\n")
    fields = _fields(header)
    digest = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
    names = [name for name in SIGNED for field, _ in fields if field == name]
    names += OVERSIGNED
    signed_fields = b"".join(_signed_fields(fields, names))
    signatures = [_signature(key, names, digest, signed_fields) for key in keys]
    return b"".join(signatures) + content


def _signature(key: Key, names: Sequence[str], digest: str, signed_fields: bytes) -> bytes:
    unsigned = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector}; t={int(time.time())};"
        f"\r\n h={':'.join(names)};\r\n bh={digest};\r\n b="
    ).encode()
    signed = signed_fields + b"dkim-signature:" + _relaxed(unsigned)
    signature = base64.b64encode(key.sign(signed)).decode()
    folded = "\r\n ".join(signature[at : at + 72] for at in range(0, len(signature), 72))
    return b"DKIM-Signature: " + unsigned + folded.encode() + b"\r\n"


def _fields(header: bytes) -> list[tuple[str, bytes]]:
    """Return names in lower case, and raw values in which NUL stands for the line break of a fold."""
    lines = FOLDS.sub(b"\x00", header).split(b"\r\n")
    parts = (line.partition(b":") for line in lines)
    return [(name.decode("ascii", "replace").strip().lower(), value) for name, _, value in parts]


def _signed_fields(fields: Sequence[tuple[str, bytes]], names: Sequence[str]) -> list[bytes]:
    """Return the named fields in relaxed form, the last of equal names first. A surplus name adds nothing."""
    left = {name: [value for field, value in fields if field == name] for name in set(names)}
    return [
        name.encode() + b":" + _relaxed(left[name].pop().replace(b"\x00", b"\r\n")) + b"\r\n"
        for name in names
        if left[name]
    ]


def _relaxed(value: bytes) -> bytes:
    """Canonicalize a header value (RFC 6376, 3.4.2)."""
    return SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")


def _relaxed_body(body: bytes) -> bytes:
    """Canonicalize a body (RFC 6376, 3.4.4)."""
    body = SPACES.sub(b" ", SPACES_AT_END.sub(b"\r\n", body))
    return body.rstrip(b"\r\n") + b"\r\n" if body.strip(b"\r\n") else b""
