"""UIDs. Ref: PS3.5 9.1."""

import re
from typing import Final

__all__ = ["clean_uid", "is_valid_uid"]

_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def is_valid_uid(uid: str) -> bool:
    """Return whether `uid` is 1-64 characters of digits and dots.

    A component with a leading zero breaks PS3.5 9.1 but is sent by real devices and harms nobody: it is taken.
    """
    return 0 < len(uid) <= 64 and _UID.fullmatch(uid) is not None


def clean_uid(raw: bytes) -> str:
    """Return the text of a UI value without its padding; "" when it is not ASCII."""
    try:
        return raw.rstrip(b"\x00 ").decode("ascii").strip()
    except UnicodeDecodeError:
        return ""
