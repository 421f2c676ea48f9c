"""Keys to sign mail with, and somebody else's verifier (dkimpy) of the signatures."""

import base64
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

Records = dict[bytes, bytes]
"""What DNS says of keys."""


def make_keys(folder: Path) -> Records:
    """Leave two keys of argosy.test for the tenant dev in `folder`."""
    (folder / "dev" / "argosy.test").mkdir(parents=True)
    records = {}
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    edwards_key = ed25519.Ed25519PrivateKey.generate()
    spki = rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = edwards_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    records[b"r1._domainkey.argosy.test."] = b"v=DKIM1; k=rsa; p=" + base64.b64encode(spki)
    records[b"e1._domainkey.argosy.test."] = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    for selector, key in (("r1", rsa_key), ("e1", edwards_key)):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "dev" / "argosy.test" / f"{selector}.pem").write_bytes(pem)
    return records


def verified(content: bytes, records: Records) -> list[bool]:
    """For each signature of a message, whether it holds."""

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        return records.get(name)

    def holds(number: int) -> bool:
        try:
            return bool(dkim.DKIM(content).verify(idx=number, dnsfunc=look_up))
        except dkim.ValidationError:
            return False

    return [holds(number) for number in range(content.count(b"DKIM-Signature:"))]
