"""Passwords: Argon2id, NIST SP 800-63B-4 rules. Always with a second factor; there is no sign-in by password alone.

Rules: 8 to 256 characters, no composition rules, no forced change; not on the list of common passwords, not made of
the person's or the site's own words. The shipped list is a compact filter: see tools/make_password_filter.py.
"""

import hashlib
import re
import unicodedata
from functools import cache
from importlib import resources
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from leadglass.errors import Malformed

__all__ = ["check_rules", "hash_password", "is_common", "verify_password"]

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=65536, parallelism=1)  # RFC 9106 4, for many at once
_MIN: Final = 8
_MAX: Final = 256
_PREFIX: Final = 5  # bytes kept of each SHA-256 in the filter: one false alarm in ten million


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _plain(password: str) -> str:
    """Return the password as guessers try it: small letters, common substitutions undone, digits at the ends cut."""
    text = password.casefold().translate(str.maketrans("013457@$!", "oieastasi"))
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


@cache
def _filter() -> frozenset[bytes]:
    data = (resources.files("leadglass.identity") / "common_passwords.bin").read_bytes()
    return frozenset(data[i : i + _PREFIX] for i in range(0, len(data), _PREFIX))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()[:_PREFIX]


def is_common(password: str) -> bool:
    """Return whether the password, or its small-letter form, is on the shipped list."""
    forms = {password, password.casefold()}
    return any(_digest(form) in _filter() for form in forms)


def check_rules(password: str, *, words: tuple[str, ...]) -> None:
    """Return if the password may be used. Args: words: names of person and site. Raises: Malformed, saying why."""
    password = _normal(password)
    if len(password) < _MIN:
        raise Malformed(f"at least {_MIN} characters, please; a few words make a good password.")
    if len(password) > _MAX:
        raise Malformed(f"at most {_MAX} characters, please.")
    if len(set(password)) < 4 or is_common(password):
        raise Malformed("this password is among the first that guessers try. Please choose another.")
    plain = _plain(password)
    for word in ("leadglass", *words):
        folded = word.casefold()
        if len(folded) >= 3 and folded in plain and len(plain) - len(folded) < 6:
            raise Malformed("this password is little more than a name that others know. Please choose another.")


def hash_password(password: str) -> bytes:
    """Return the PHC string of Argon2id; about 50 ms and 64 MiB."""
    return _HASHER.hash(_normal(password)).encode()


def verify_password(stored: bytes | None, password: str) -> bool:
    """Return whether the password is right. Without a stored one the same work is done, so that time tells nothing."""
    reference = stored.decode() if stored is not None else _decoy()
    try:
        _HASHER.verify(reference, _normal(password)[:_MAX])
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


@cache
def _decoy() -> str:
    return _HASHER.hash("a password that nobody has")
