"""A bounded walk over a data set's elements: no recursion, nothing allocated by what a length claims.

Sans-I/O over bytes that are there. pydicom recurses (RecursionError at 300 nested sequences) and allocates claimed
lengths; this walk counts depth and elements and slices only what has arrived. Ref: PS3.5 7.1, 7.5.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from leadglass.dicom.dictionary import vr_of
from leadglass.errors import Malformed

__all__ = ["DELIMITERS", "PIXEL_DATA", "UNDEFINED", "Element", "Limits", "holds_fragments", "needs_more", "walk"]

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
_SEQUENCE_VRS: Final = frozenset({"", "SQ", "UN"})
_IN_SEQUENCE: Final = 0
_IN_ITEM: Final = 1
_IN_FRAGMENTS: Final = 2
_Reader = tuple[bool, Callable[..., tuple[int, ...]], Callable[..., tuple[int, ...]], Callable[..., tuple[int, ...]]]
_Open = tuple[int, int, _Reader, int]  # end offset or -1, what it is, how the outside of it is read, bound before it


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


class _NeedsMore(Exception):
    """The buffer ends inside an element."""


needs_more = _NeedsMore


def walk(  # noqa: C901, PLR0912, PLR0915 - one loop with its stack: a call an element would double its cost
    buffer: "bytes | bytearray | memoryview", *, offset: int = 0, end: int | None = None, explicit: bool, little: bool,
    limits: Limits, is_complete: bool = True, stop_at_pixels: bool = False, nested: bool = True,
) -> Iterator[Element]:
    """Give the elements from `offset` on, in order; with `nested`, those inside sequences and items too.

    Stops before pixel data of depth 0 where `stop_at_pixels` (the element is given, its value is not read). Fragments
    of encapsulated values are given as items and never entered. Without `nested`, what has a length is not entered.
    Tolerated, as real devices do it: a delimiter where a length has said the same; a sequence's delimiter that closes
    its open item too; stray delimiters outside sequences.
    Raises: Malformed (a limit; a length beyond what encloses it; nesting that contradicts itself); `needs_more` when
    an incomplete buffer ends before the data set does. Not done here: values, see dicom/values.py.
    """
    stop = len(buffer) if end is None else end
    reader = _reader(explicit=explicit, little=little)
    is_explicit, unpack_short, unpack_implicit, unpack_long = reader
    long_vrs, short_vrs = _LONG, _SHORT
    opened: list[_Open] = []  # sequences, items and fragments, outermost first
    bound = stop  # where the innermost of them that has a length ends
    count = 0
    max_elements, max_depth = limits.max_elements, limits.max_depth
    while True:
        while opened and opened[-1][0] == offset:
            _, _, reader, bound = opened.pop()
            is_explicit, unpack_short, unpack_implicit, unpack_long = reader
        if offset >= bound:
            if not is_complete and bound == stop:
                raise _NeedsMore
            if opened:
                raise Malformed("a sequence or an item is not closed.")
            return
        if offset + 8 > bound:
            raise _lack("the data set ends inside a data element.", may_come=not is_complete and bound == stop)
        count += 1
        if count > max_elements:
            raise Malformed(f"more than {max_elements} data elements.")
        group, element, length = unpack_implicit(buffer, offset)
        tag = group << 16 | element
        value = offset + 8
        depth = len(opened)
        if group == 0xFFFE and tag in DELIMITERS:
            # Checked first, given then: who reads along has opened a place for every item that is given.
            if tag != _ITEM:
                _check_delimiter(tag, opened)
                yield Element(tag, "", offset, value, 0, depth)
                for _ in range(_closes(tag, opened)):
                    _, _, reader, bound = opened.pop()
                is_explicit, unpack_short, unpack_implicit, unpack_long = reader
                offset = value
                continue
            kind = opened[-1][1] if opened else _IN_ITEM
            if kind == _IN_ITEM:
                raise Malformed("an item stands outside a sequence.")
            if length == UNDEFINED and kind == _IN_FRAGMENTS:
                raise Malformed("a fragment has no length.")
            if length != UNDEFINED and value + length > bound:
                raise _lack("an item is longer than its sequence.", may_come=not is_complete and bound == stop)
            _check_depth(depth, max_depth)
            yield Element(tag, "", offset, value, length, depth)
            if length == UNDEFINED:
                opened.append((-1, _IN_ITEM, reader, bound))
                offset = value
            elif kind == _IN_FRAGMENTS or not nested:
                offset = value + length
            else:
                opened.append((value + length, _IN_ITEM, reader, bound))
                bound = value + length
                offset = value
            continue
        if depth and opened[-1][1] != _IN_ITEM:
            raise Malformed("a sequence holds something else than items.")
        vr = ""
        if is_explicit:
            code = bytes(buffer[offset + 4 : offset + 6])
            if code in short_vrs:
                length = unpack_short(buffer, offset)[3]
                vr = code.decode()
            elif code in long_vrs or (65 <= code[0] <= 90 and 65 <= code[1] <= 90):
                if offset + 12 > bound:
                    raise _lack("the data set ends inside a data element.", may_come=not is_complete and bound == stop)
                length = unpack_long(buffer, offset + 8)[0]
                value = offset + 12
                vr = code.decode() if code in long_vrs else "UN"  # a later edition's VR has the long form (PS3.5 6.2)
            # else: bytes that are no VR: real devices mix implicit elements in; taken as implicit
        item = Element(tag, vr, offset, value, length, depth)
        if stop_at_pixels and depth == 0 and tag in PIXEL_DATA:
            yield item
            return
        if length == UNDEFINED:
            yield item
            _check_depth(depth, max_depth)
            opened.append((-1, _IN_FRAGMENTS if holds_fragments(tag, vr) else _IN_SEQUENCE, reader, bound))
            if vr == "UN":  # PS3.5 6.2.2: UN of undefined length is implicit VR little endian, in big endian data sets too
                reader = _reader(explicit=False, little=True)
                is_explicit, unpack_short, unpack_implicit, unpack_long = reader
            offset = value
            continue
        if value + length > bound:
            raise _lack("a data element is longer than what holds it.", may_come=not is_complete and bound == stop)
        yield item
        if nested and length and (vr == "SQ" or (not vr and vr_of(tag) == "SQ")):
            _check_depth(depth, max_depth)
            opened.append((value + length, _IN_SEQUENCE, reader, bound))
            bound = value + length
            offset = value
        else:
            offset = value + length


@cache
def _reader(*, explicit: bool, little: bool) -> _Reader:
    """Return how element headers are read: whether a VR is there, and the three shapes that they have."""
    order = "<" if little else ">"
    return (explicit, struct.Struct(order + "HHHH").unpack_from, struct.Struct(order + "HHI").unpack_from,
            struct.Struct(order + "I").unpack_from)


def holds_fragments(tag: int, vr: str) -> bool:
    """Return whether a value of undefined length is fragments (PS3.5 A.4) and not items of a sequence."""
    return tag in PIXEL_DATA or vr not in _SEQUENCE_VRS


def _lack(message: str, *, may_come: bool) -> Exception:
    return _NeedsMore() if may_come else Malformed(message)


def _check_depth(depth: int, max_depth: int) -> None:
    if depth >= max_depth:
        raise Malformed(f"sequences are nested deeper than {max_depth} levels.")


def _check_delimiter(tag: int, opened: list[_Open]) -> None:
    """Refuse a delimiter that contradicts what is open. Raises: Malformed."""
    if not opened:
        return
    end, kind, _, _ = opened[-1]
    if tag == _ITEM_END and kind != _IN_ITEM:
        raise Malformed("an item is closed that is not open.")
    if tag == _SEQUENCE_END and kind == _IN_ITEM and (end != -1 or opened[-2][0] != -1):
        raise Malformed("a sequence is closed inside one of its items.")


def _closes(tag: int, opened: list[_Open]) -> int:
    """Return how many of the open things a delimiter closes; what has a length is closed by that alone."""
    if not opened or opened[-1][0] != -1:
        return 0
    return 2 if tag == _SEQUENCE_END and opened[-1][1] == _IN_ITEM else 1
