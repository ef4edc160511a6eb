"""The marker segments at the head of a JPEG or JPEG-LS stream. Ref: ITU-T T.81 B, T.871, T.87 Annex C."""

from collections.abc import Iterator
from typing import Final

__all__ = ["colours_of", "without_application_data"]

_MAX_SEGMENTS: Final = 256
_STARTS: Final = frozenset({0xDA, 0xD9})
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3})


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Give (marker, offset of 0xFF, end) up to the first scan."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        while frame[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 4 > len(frame) or frame[at] != 0xFF or frame[at + 1] in _STARTS:
            return
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        yield frame[at + 1], at, end
        at = end


def colours_of(frame: bytes) -> str:
    """Return RGB or YBR_FULL where the stream itself says what its three components are, else ""."""
    found = ""
    for marker, at, end in _segments(frame):
        body = frame[at + 4 : end]
        if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:  # more exact than JFIF: it ends the search
            return "YBR_FULL" if body[11] == 1 else "RGB"
        if marker == 0xE0 and body[:5] == b"JFIF\x00":
            found = "YBR_FULL"
    return found


def without_application_data(frame: bytes, *, is_rgb: bool = True) -> bytes:
    """Return the stream without JFIF and SPIFF headers, which have no place in DICOM. Ref: PS3.5 8.2.1, 8.2.3.

    What is not RGB loses the marks that say RGB too: the Adobe segment, and R, G, B as names of components.
    """
    keep, last = [frame[:2]], 2
    for marker, at, end in _segments(frame):
        if marker not in {0xE0, 0xE8} and (is_rgb or marker != 0xEE):
            segment = frame[at:end]
            keep.append(segment if is_rgb or marker not in _FRAMES else _numbered(segment, 10, 3))
        last = end
    rest = frame[last:]
    if not is_rgb and rest[:2] == b"\xff\xda":
        rest = _numbered(rest, 5, 2)
    return b"".join(keep) + rest


def _numbered(segment: bytes, first: int, step: int) -> bytes:
    """Return a frame or scan header whose three components are called 1, 2, 3."""
    if segment[first - 1] != 3:
        return segment
    out = bytearray(segment)
    for number in range(3):
        out[first + step * number] = number + 1
    return bytes(out)
