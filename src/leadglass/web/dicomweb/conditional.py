"""Validators and ranges, sans I/O: ETag, If-None-Match, Range, If-Range. Ref: RFC 9110 8.8.3, 13.1, 14.

An ETag is made from what determines the bytes: the digests of what is stored, how it is represented, and this
release. It tells a reader nothing that the answer does not. Strong: the bytes are the same; weak (W/): the same
thing, made anew by an encoder. A condition is looked at only after the door: 304 is an answer about a study too.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from leadglass import __version__

__all__ = ["Range", "Unsatisfiable", "boundary_of", "etag_of", "is_unchanged", "parse_range", "with_coding"]

_MAX_HEADER: Final = 4096
_MAX_TAGS: Final = 100
_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE: Final = re.compile(r"bytes=\s*([0-9]{0,40})\s*-\s*([0-9]{0,40})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """Bytes `start` to `stop` - 1 of a body."""

    start: int
    stop: int


class Unsatisfiable(Exception):
    """The range lies behind the end: 416."""


def etag_of(parts: Iterable[str | bytes], *, is_weak: bool = False) -> str:
    """Return an ETag over all of `parts`, in their order. Other parts, or another release: another ETag."""
    machine = hashlib.sha256(__version__.encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        machine.update(len(data).to_bytes(8, "big") + data)  # lengths: "ab","c" is not "a","bc"
    return f'{"W/" if is_weak else ""}"{machine.hexdigest()[:40]}"'


def with_coding(etag: str, coding: str) -> str:
    """Return the ETag of the same thing under a content coding: other bytes, so another tag (RFC 9110 8.8.3.3)."""
    return f'{etag[:-1]}-{coding}"' if coding else etag


def boundary_of(etag: str) -> str:
    """Return the multipart boundary of the body with that ETag: the same body has the same bytes, so that ranges fit.

    Attack: an image that holds the boundary of its own answer, to forge parts. The boundary is a hash over the
    digests of all that the body holds; such an image would be a fixed point of SHA-256 (128 bits of it).
    """
    return "leadglass-" + hashlib.sha256(b"boundary\x00" + etag.encode()).hexdigest()[:32]


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client's copy is good: 304. Weak comparison; "*" is any. Ref: RFC 9110 13.1.2."""
    if not if_none_match or len(if_none_match) > _MAX_HEADER:
        return False
    if if_none_match.strip() == "*":
        return True
    tags = _TAG.findall(if_none_match)[:_MAX_TAGS]
    return etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in tags}


def parse_range(header: str | None, if_range: str | None, etag: str, length: int) -> Range | None:
    """Return the one range to give, or None for the whole. Raises: Unsatisfiable.

    Ignored, as RFC 9110 14.2 lets a server do: several ranges (a thousand of one byte cost a thousand part headers),
    other units, what is no range; and a range whose If-Range names another version, or only a weak tag or a date.
    """
    if not header or length < 0 or len(header) > _MAX_HEADER:
        return None
    if if_range is not None and (if_range.strip() != etag or etag.startswith("W/")):
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last so many bytes
        count = min(int(match[2]), length)
        if count == 0:
            raise Unsatisfiable
        return Range(length - count, length)
    start = int(match[1])
    last = int(match[2]) if match[2] else length - 1
    if match[2] and last < start:
        return None
    if start >= length:
        raise Unsatisfiable
    return Range(start, min(last + 1, length))
