"""Values: text by its character set, person names, dates and ranges. Ref: PS3.5 6.1, 6.2; PS3.4 C.2.2.2.5."""

import re
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, default_encoding

from leadglass.errors import Malformed

__all__ = ["decode_text", "encodings_of", "is_valid_ae", "parse_date_range", "parse_datetime_range", "parse_time_range"]

_DELIMITERS: Final = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_DATE: Final = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_ONE: Final = r"([0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?)?(?:[+-][01][0-9][0-5][0-9])?"
_DATETIMES: Final = re.compile(_ONE + r"(?:(-)" + _ONE + ")?")
_AE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


@lru_cache(maxsize=256)
def encodings_of(specific_character_set: str) -> tuple[str, ...]:
    """Return Python's names for the terms of (0008,0005); unknown terms fall back to the default repertoire."""
    import warnings

    terms = [term.strip() for term in specific_character_set.split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns with the term; the fallback is what we want
        try:
            return tuple(convert_encodings(terms)) or (default_encoding,)
        except (LookupError, ValueError):
            return (default_encoding,)


def decode_text(raw: bytes, encodings: tuple[str, ...]) -> str:
    """Return the text of a value without padding; never raises. Bytes that fit no set become U+FFFD or Latin-1."""
    raw = raw.rstrip(b"\x00 ")
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if len(encodings) == 1 and encodings[0] in {default_encoding, "ascii"}:
        try:
            return raw.decode("utf-8")  # undeclared, and common: real devices that forget (0008,0005)
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(raw, list(encodings), _DELIMITERS)
        except (LookupError, ValueError, UnicodeError):
            return raw.decode("latin-1")


def is_valid_ae(title: str) -> bool:
    """Return whether `title` is an AE title of 1-16 characters without backslash or control characters."""
    return len(title) <= 16 and _AE.fullmatch(title) is not None


def _date(text: str) -> str:
    match = _DATE.fullmatch(text)
    if text and (match is None or not "01" <= match[2] <= "12" or not "01" <= match[3] <= "31"):
        raise Malformed("a date is YYYYMMDD, a range YYYYMMDD-YYYYMMDD.")
    return "".join(match.groups()) if match else ""


def parse_date_range(text: str) -> tuple[str, str]:
    """Return (first, last) of a DA query value; "" is open; a single date is both. Raises: Malformed."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        text = text.replace("-", "")
    first, dash, last = text.partition("-")
    first = _date(first.strip())
    return (first, _date(last.strip())) if dash else (first, first)


def parse_time_range(text: str) -> tuple[str, str]:
    """Return (first, last) of a TM query value, padded to HHMMSS; "" is open; 10 is the whole hour. Raises: Malformed."""
    first, dash, last = text.replace(":", "").partition("-")
    for part in (first, last):
        if part and not re.fullmatch(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?", part.strip()):
            raise Malformed("a time is HHMMSS, a range HHMMSS-HHMMSS.")
    last = (last if dash else first).strip()
    first = first.strip().partition(".")[0].ljust(6, "0") if first else ""
    return first, (last.partition(".")[0].ljust(6, "9") + ".999999") if last else ""


def parse_datetime_range(text: str) -> tuple[str, str]:
    """Return (first, last) of a DT query value, padded; "" is open; UTC offsets are taken and not applied.

    A hyphen stands before a range's end and before an offset: one after which four digits end the value, or its first
    half, is an offset (PS3.4 C.2.2.2.5.3). Raises: Malformed.
    """
    match = _DATETIMES.fullmatch(text.strip())
    if match is None or not (match[1] or match[3]):
        raise Malformed("a date and time is YYYYMMDDHHMMSS.FFFFFF&ZZXX, a range two of them with a hyphen.")
    first, dash, last = match[1] or "", match[2], match[3] or ""
    last = last if dash else first
    return first, _filled(last) if last else ""


def _filled(text: str) -> str:
    """Return the end of what a less exact date and time spans."""
    whole, _, _ = text.partition(".")
    return whole if whole != text else whole + "99991231235959.999999"[len(whole) :]
