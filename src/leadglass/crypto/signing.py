"""Signed notes: text with Ed25519 signature lines. Ref: C2SP signed-note, tlog-checkpoint."""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from leadglass.errors import Damaged

__all__ = ["Signer", "Verifier"]

_ED25519 = b"\x01"


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


class Signer:
    """Signs notes under a name, from a 32-byte seed."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()

    def sign(self, text: str) -> str:
        """Return the note: text, a blank line, a signature line. Raises: ValueError, when text ends without newline."""
        if not text.endswith("\n"):
            raise ValueError("a note's text ends with a newline")
        blob = _key_id(self._name, self._public) + self._key.sign(text.encode())
        return f"{text}\n\u2014 {self._name} {base64.b64encode(blob).decode()}\n"

    def vkey(self) -> str:
        """Return the public key in the form `name+id+base64`."""
        key = base64.b64encode(_ED25519 + self._public).decode()
        return f"{self._name}+{_key_id(self._name, self._public).hex()}+{key}"


class Verifier:
    """Opens notes that carry a good signature of one key."""

    def __init__(self, vkey: str) -> None:
        """Raises: Damaged, when the key string is not one."""
        try:
            self._name, key_id, encoded = vkey.strip().split("+", 2)
            blob = base64.b64decode(encoded, validate=True)
            if blob[:1] != _ED25519 or bytes.fromhex(key_id) != _key_id(self._name, blob[1:]):
                raise ValueError
            self._key = Ed25519PublicKey.from_public_bytes(blob[1:])
            self._id = bytes.fromhex(key_id)
        except ValueError as e:
            raise Damaged("not a verifier key of a signed note.") from e

    def open(self, note: str) -> str:
        """Return the note's text. Raises: Damaged, without a good signature of this key."""
        text, blank, lines = note.rpartition("\n\n")
        text += "\n"
        for line in lines.splitlines() if blank else ():
            parts = line.split(" ")
            if len(parts) != 3 or parts[0] != "\u2014" or parts[1] != self._name:
                continue
            try:
                blob = base64.b64decode(parts[2], validate=True)
                if blob[:4] == self._id:
                    self._key.verify(blob[4:], text.encode())
                    return text
            except (ValueError, InvalidSignature) as e:
                raise Damaged("a signed note's signature does not verify.") from e
        raise Damaged("a note without a signature of the expected key.")
