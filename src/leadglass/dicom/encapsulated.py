"""Where frames lie in pixel data, native or encapsulated. Ref: PS3.5 8, A.4; PS3.3 C.7.6.3."""

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from leadglass.errors import Damaged, Malformed

__all__ = ["Spans", "frame_fragments", "native_frame"]

_ITEM: Final = 0xFFFEE000
_END: Final = 0xFFFEE0DD
_MAX_FRAGMENTS: Final = 1_000_000
_WINDOW: Final = 65536

Spans = list[tuple[int, int]]


def native_frame(value_offset: int, value_length: int, frames: int, number: int) -> tuple[int, int]:
    """Return (offset, length) of frame `number` (from 1) of native pixel data; all frames have one length.

    Raises: Malformed, when the value does not divide into frames (bit-packed multi-frames are read whole).
    """
    if not 1 <= number <= frames:
        raise Malformed("no such frame.")
    if frames == 1:
        return value_offset, value_length
    length = value_length // frames
    if length == 0:
        raise Malformed("the pixel data is shorter than its frames.")
    return value_offset + (number - 1) * length, length


def frame_fragments(read: Callable[[int, int], bytes], start: int, end: int, frames: int) -> list[Spans]:
    """Return the fragments of each frame: (offset, length) of their values.

    Args: read: gives bytes of the file. start: offset of the first item (the basic offset table). end: file length.
    Rules: one fragment a frame where the counts agree; else the offset table; else all fragments are one frame's.
    Raises: Malformed, Damaged.
    """
    if frames < 1:
        raise Malformed("no such frame.")
    table, spans, starts = _items(read, start, end)
    if len(spans) == frames:
        return [[span] for span in spans]
    if frames == 1:
        return [spans]
    offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    if len(offsets) == frames:
        places = {at: index for index, at in enumerate(starts)}
        try:
            first = [places[offset] for offset in offsets]
        except KeyError as e:
            raise Malformed("the basic offset table points between fragments.") from e
        if first[0] != 0 or any(a >= b for a, b in pairwise(first)):  # else a frame of nothing, or of another's bytes
            raise Malformed("the basic offset table is out of order.")
        return [spans[a:b] for a, b in zip(first, [*first[1:], len(spans)], strict=True)]
    raise Malformed("the fragments cannot be told apart into frames.")


def _items(read: Callable[[int, int], bytes], start: int, end: int) -> tuple[bytes, Spans, list[int]]:
    """Return (offset table, fragments, offsets of their items from the first). Reads headers only, in windows."""
    table = b""
    spans: Spans = []
    starts: list[int] = []
    at, first = start, -1
    window, window_at = b"", start
    while at + 8 <= end:
        if not window_at <= at <= window_at + len(window) - 8:
            window, window_at = read(at, min(_WINDOW if at == start else 4096, end - at)), at
            if len(window) < 8:
                raise Damaged("an object ended early.")
        tag_group, tag_element, length = struct.unpack_from("<HHI", window, at - window_at)
        tag = tag_group << 16 | tag_element
        if tag == _END:
            break
        if tag != _ITEM or at + 8 + length > end:
            raise Malformed("the encapsulated pixel data is broken.")
        if first < 0:
            table = read(at + 8, length) if length <= 4 * _MAX_FRAGMENTS else b""
            first = at + 8 + length
        else:
            spans.append((at + 8, length))
            starts.append(at - first)
            if len(spans) > _MAX_FRAGMENTS:
                raise Malformed("too many fragments.")
        at += 8 + length
    if not spans:
        raise Malformed("the encapsulated pixel data has no fragments.")
    return table, spans, starts
