"""A data set in another encoding: VR explicit or not, byte order, group lengths gone. Ref: PS3.5 6.2.2, 7.1, 7.5, A.

Sans-I/O, over the bounded walk: no recursion, nothing allocated by what a length claims. Sequences and items leave
with undefined lengths, since what stands in them changes its size. A value whose VR is unknown is kept byte for byte.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from leadglass.dicom.dictionary import choices_of, vr_of
from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits, holds_fragments, walk
from leadglass.errors import Malformed

__all__ = ["Decompress", "Encoding", "element_bytes", "reencode", "swapped", "vr_by_context"]

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_PIXEL_DATA: Final = 0x7FE00010
_PADDING: Final = 0xFFFCFFFC
_PIXEL_REPRESENTATION: Final = 0x00280103
_LONG: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_WORD: Final = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4, "FD": 8, "OD": 8,
                "OV": 8, "SV": 8, "UV": 8}
_SPACE: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"})
_MAX_SHORT: Final = 65534

Decompress = Callable[[bytes, dict[int, bytes]], bytes]


@dataclass(frozen=True)
class Encoding:
    """How the elements of a data set lie in bytes."""

    explicit: bool
    little: bool


@dataclass
class _Open:
    """A sequence, an item or a compressed value that is being written: how its content leaves, and how it ends."""

    encoding: Encoding
    end: bytes
    numbers: dict[int, bytes] = field(default_factory=dict)  # what describes pixels (group 0028), little endian
    fragments: list[bytes] | None = None  # of an icon: it leaves decompressed

    @property
    def is_signed(self) -> bool:
        return self.numbers.get(_PIXEL_REPRESENTATION, b"\0")[:1] == b"\1"


def swapped(data: bytes, size: int) -> bytes:
    """Return `data` with the bytes of each word of `size` in the other order; a rest is left as it is."""
    if size == 1:
        return data
    whole = len(data) // size * size
    out = bytearray(data)
    for place in range(size):
        out[place:whole:size] = data[size - 1 - place : whole : size]
    return bytes(out)


def element_bytes(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """Return one element; the value is already in the encoding's byte order and gets its padding here."""
    if len(value) % 2:
        value += b" " if vr in _SPACE else b"\x00"
    if encoding.explicit and vr not in _LONG and len(value) > _MAX_SHORT:
        vr = "OW" if vr in {"US", "SS"} else "UN"  # PS3.5 6.2.2 note: what is too long for a short length
    return _head(tag, vr, len(value), encoding) + value


def _head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    order = "<" if encoding.little else ">"
    if not encoding.explicit:
        return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)
    if vr in _LONG:
        return struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def _delimiter(raw: bytes, encoding: Encoding) -> bytes:
    return raw if encoding.little else raw[1::-1] + raw[3:1:-1] + raw[4:]


def reencode(  # noqa: C901, PLR0912 - one loop with its stack, as the walk under it
    buffer: "bytes | memoryview", *, source: Encoding, target: Encoding, limits: Limits,
    changes: dict[int, tuple[str, bytes] | None] | None = None, decompress: Decompress | None = None,
) -> bytes:
    """Return the data set in `buffer` in the target's encoding, without group lengths and trailing padding.

    Args: buffer: untrusted, the elements before (or after) the pixel data. changes: tag of depth 0 -> its new VR and
        value in the target's byte order, None to leave it out; what was not there is put in its place.
        decompress: gives native little endian pixels of an icon's fragments and the values that describe it.
    Raises: Malformed (a limit, a structure that contradicts itself, compressed icons without `decompress`).
    """
    out = bytearray()
    root = _Open(target, b"")
    opened: list[_Open] = []
    pending = sorted((changes or {}).items())
    changed = {tag for tag, _ in pending}
    for tag, given, _, at, length, depth in walk(
        buffer, explicit=source.explicit, little=source.little, limits=limits,
    ):
        if tag >> 16 == 0xFFFE and tag != _ITEM:
            continue  # what is open is closed by the depth of what follows
        while len(opened) > depth:
            _close(out, opened.pop(), decompress)
        level = opened[-1] if opened else root
        encoding = level.encoding
        if tag == _ITEM:
            if level.fragments is not None:
                level.fragments.append(bytes(buffer[at : at + length]))
                continue
            out += _delimiter(struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED), encoding)
            opened.append(_Open(encoding, _ITEM_END, level.numbers.copy()))
            continue
        if depth == 0:
            while pending and pending[0][0] <= tag:
                _put(out, *pending.pop(0), target)
            if tag in changed:
                if length == UNDEFINED or given == "SQ":
                    raise Malformed("an attribute of the image is a sequence.")
                continue
        if tag & 0xFFFF == 0 or tag == _PADDING:
            continue
        vr = given or vr_by_context(tag, is_signed=level.is_signed)
        if length == UNDEFINED or vr == "SQ":
            if holds_fragments(tag, given) and length == UNDEFINED:
                if decompress is None or tag != _PIXEL_DATA:
                    raise Malformed("the header holds compressed pixels of its own (an icon).")
                opened.append(_Open(encoding, b"", level.numbers, fragments=[]))
                continue
            vr = "UN" if vr == "UN" else "SQ"
            if length == 0:
                out += _head(tag, vr, 0, encoding)
                continue
            out += _head(tag, vr, UNDEFINED, encoding)
            # PS3.5 6.2.2: in UN of undefined length everything is implicit VR little endian
            inner = Encoding(explicit=False, little=True) if vr == "UN" else encoding
            opened.append(_Open(inner, _SEQUENCE_END, level.numbers))
            continue
        if not encoding.explicit and length and vr_by_context(tag, is_signed=level.is_signed) == "SQ":
            raise Malformed("a value stands where the standard has a sequence, and implicit VR cannot say so.")
        value = bytes(buffer[at : at + length])
        if tag >> 16 == 0x0028 and length <= 16:
            level.numbers[tag] = value if source.little else swapped(value, _WORD.get(vr, 1))
        if source.little != encoding.little:
            value = swapped(value, _WORD.get(vr, 1))
        out += element_bytes(tag, vr, value, encoding)
    while opened:
        _close(out, opened.pop(), decompress)
    for tag, change in pending:
        _put(out, tag, change, target)
    return bytes(out)


def _close(out: bytearray, closing: _Open, decompress: Decompress | None) -> None:
    if closing.fragments is None:
        out += _delimiter(closing.end, closing.encoding)
        return
    assert decompress is not None
    pixels = decompress(b"".join(closing.fragments[1:]), closing.numbers)  # the first is the offset table
    word = int.from_bytes(closing.numbers.get(0x00280100, b"\x08")[:2], "little") // 8
    vr = "OW" if word > 1 else "OB"
    out += element_bytes(_PIXEL_DATA, vr, pixels if closing.encoding.little else swapped(pixels, max(1, word)), closing.encoding)


def _put(out: bytearray, tag: int, change: tuple[str, bytes] | None, encoding: Encoding) -> None:
    if change is not None:
        out += element_bytes(tag, change[0], change[1], encoding)


def vr_by_context(tag: int, *, is_signed: bool) -> str:
    """Return the VR of a tag under implicit VR, where PS3.6 gives a choice by Pixel Representation. Ref: PS3.5 A.1."""
    if tag in PIXEL_DATA:
        return {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, "OW")
    if is_signed and "SS" in choices_of(tag):
        return "SS"
    return vr_of(tag)
