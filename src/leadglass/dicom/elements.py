"""A bounded walk over a data set's elements: no recursion, nothing allocated by what a length claims.

Sans-I/O over bytes that are there. pydicom recurses (RecursionError at 300 nested sequences) and allocates claimed
lengths; this walk counts depth and elements and slices only what has arrived. Ref: PS3.5 7.1, 7.5.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from leadglass.dicom.dictionary import vr_of
from leadglass.errors import Malformed

__all__ = ["DELIMITERS", "Element", "Limits", "PIXEL_DATA", "UNDEFINED", "needs_more", "walk"]

UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
DELIMITERS: Final = frozenset({_ITEM, _ITEM_END, _SEQUENCE_END})
PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_LONG: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT: Final = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one data set may cost."""

    max_depth: int = 32
    max_elements: int = 200_000
    max_header_bytes: int = 64 * 2**20


class Element(NamedTuple):
    """One element as it lies in the buffer; `depth` 0 is the data set itself."""

    tag: int
    vr: str  # "" under implicit VR, until the dictionary is asked
    start: int  # of the tag
    value: int  # offset of the value
    length: int  # UNDEFINED for sequences and items of undefined length
    depth: int


class _NeedsMore(Exception):  # noqa: N818 - a signal, not an error
    """The buffer ends inside an element."""


needs_more = _NeedsMore


def walk(
    buffer: "bytes | bytearray | memoryview", *, offset: int = 0, end: int | None = None, explicit: bool, little: bool,
    limits: Limits, is_complete: bool = True, stop_at_pixels: bool = False, nested: bool = True,
) -> Iterator[Element]:
    """Give the elements from `offset` on, in order; with `nested`, those inside sequences and items too.

    Stops before pixel data of depth 0 where `stop_at_pixels` (the element is given, its value is not read).
    Raises: Malformed (a limit, a length beyond the end of a complete buffer); `needs_more` when an incomplete buffer
    ends inside an element. Not done here: values, see dicom/values.py.
    """
    stop = len(buffer) if end is None else end
    short = struct.Struct("<HHHH" if little else ">HHHH")
    implicit = struct.Struct("<HHI" if little else ">HHI")
    long = struct.Struct("<I" if little else ">I")
    unpack_short, unpack_implicit, unpack_long = short.unpack_from, implicit.unpack_from, long.unpack_from
    long_vrs, short_vrs = _LONG, _SHORT
    ends: list[tuple[int, bool]] = []  # open sequences and items: (end offset or -1, explicit before it)
    count = 0
    max_elements, max_depth = limits.max_elements, limits.max_depth
    is_explicit = explicit
    while True:
        while ends and ends[-1][0] == offset:
            is_explicit = ends.pop()[1]
        if offset >= stop:
            if any(e[0] > offset for e in ends) or (ends and not is_complete):
                raise _NeedsMore if not is_complete else Malformed("a sequence ends beyond the data set.")
            return
        if offset + 8 > stop:
            if not is_complete:
                raise _NeedsMore
            raise Malformed("the data set ends inside a data element.")
        count += 1
        if count > max_elements:
            raise Malformed(f"more than {max_elements} data elements.")
        group, element, length = unpack_implicit(buffer, offset)
        tag = group << 16 | element
        vr = ""
        value = offset + 8
        if group != 0xFFFE and is_explicit:
            code = bytes(buffer[offset + 4 : offset + 6])
            if code in short_vrs:
                length = unpack_short(buffer, offset)[3]
                vr = code.decode()
            elif code in long_vrs:
                if offset + 12 > stop:
                    if not is_complete:
                        raise _NeedsMore
                    raise Malformed("the data set ends inside a data element.")
                length = unpack_long(buffer, offset + 8)[0]
                value = offset + 12
                vr = code.decode()
            elif 65 <= code[0] <= 90 and 65 <= code[1] <= 90:  # a VR of a later edition has the long form (PS3.5 6.2)
                if offset + 12 > stop:
                    if not is_complete:
                        raise _NeedsMore
                    raise Malformed("the data set ends inside a data element.")
                length = unpack_long(buffer, offset + 8)[0]
                value = offset + 12
                vr = "UN"
            # else: bytes that are no VR: real devices mix implicit elements in; taken as implicit
        depth = len(ends)
        if tag in DELIMITERS:
            if tag == _ITEM:
                yield Element(tag, "", offset, value, length, depth)
                offset = value
                if not nested and depth == 0:
                    raise Malformed("an item stands outside a sequence.")
                if depth >= max_depth:
                    raise Malformed(f"sequences are nested deeper than {max_depth} levels.")
                if length != UNDEFINED:
                    if value + length > stop:
                        if not is_complete:
                            raise _NeedsMore
                        raise Malformed("an item ends beyond the data set.")
                    ends.append((value + length, is_explicit))
                else:
                    ends.append((-1, is_explicit))
            else:
                yield Element(tag, "", offset, value, 0, depth)
                offset = value
                if ends and ends[-1][0] == -1:
                    is_explicit = ends.pop()[1]
            continue
        item = Element(tag, vr, offset, value, length, depth)
        if tag in PIXEL_DATA and depth == 0 and stop_at_pixels:
            yield item
            return
        if length == UNDEFINED:
            yield item
            if depth >= max_depth:
                raise Malformed(f"sequences are nested deeper than {max_depth} levels.")
            ends.append((-1, is_explicit))
            if vr == "UN":  # PS3.5 6.2.2: UN of undefined length is implicit VR little endian
                is_explicit = False
            offset = value
            continue
        if value + length > stop:
            if not is_complete:
                raise _NeedsMore
            raise Malformed("a data element is longer than the data set.")
        yield item
        if nested and length and (vr == "SQ" or (not vr and vr_of(tag) == "SQ")):
            if depth >= max_depth:
                raise Malformed(f"sequences are nested deeper than {max_depth} levels.")
            ends.append((value + length, is_explicit))
            offset = value
        else:
            offset = value + length
