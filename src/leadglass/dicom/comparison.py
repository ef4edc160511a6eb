"""Are two data sets the same but for their encoding? Values are compared decoded, never bytes of a syntax.

Not compared: group lengths, the character set's name, padding, offset tables, the pixel data (archive/life/sorting.py
decodes that), and whether colours lie by pixel or by plane. Ref: PS3.5 7.1-7.3, PS3.3 C.7.6.3.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from leadglass.dicom.dictionary import keyword_of, vr_of
from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits, holds_fragments, needs_more, walk
from leadglass.dicom.values import decode_text, encodings_of
from leadglass.errors import Malformed

__all__ = ["DEMOGRAPHIC_TAGS", "Leaf", "differing_tags", "is_demographic", "leaves", "name_of", "text_of"]

_ITEM: Final = 0xFFFEE000
_CHARSET: Final = 0x00080005
_FOLLOWS_ENCODING: Final = frozenset({
    _CHARSET, 0x00080001, 0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00003, 0xFFFCFFFC,
})
_DECODED_TO: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("YBR_RCT",): ("RGB",), ("YBR_ICT",): ("RGB",),  # JPEG 2000 undoes these itself. Ref: PS3.3 C.7.6.3.1.2
}
_WIDTHS: Final = {
    "US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4, "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8, "AT": 2,
}
_TEXT: Final = frozenset({"LO", "SH", "UC", "PN", "LT", "ST", "UT"})
_ASCII: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_BINARY: Final = frozenset({"OB", "UN", ""})
# Patient and study level attributes, and what a correction leaves behind. Ref: PS3.3 C.7.1, C.7.2, C.12.1.1.9.
_PATIENT_GROUPS: Final = frozenset({0x0010, 0x0012, 0x0038})
DEMOGRAPHIC_TAGS: Final = frozenset({
    0x00080015, 0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080090, 0x00080096, 0x0008009C, 0x0008009D, 0x00081030,
    0x00081032, 0x00081048, 0x00081049, 0x00081060, 0x00081062, 0x00081080, 0x00081084, 0x00081110, 0x00081120, 0x00200010,
    0x00321033, 0x00321034, 0x00321060, 0x00321064, 0x00401012, 0x04000561,
})


class Leaf(NamedTuple):
    """One value as it lies there, with what is needed to read it."""

    vr: str  # as the data set says, or by the dictionary; "" = not known
    raw: bytes
    is_little: bool
    encodings: tuple[str, ...]


def leaves(
    buffer: "bytes | memoryview", *, offset: int, explicit: bool, little: bool, limits: Limits, is_complete: bool = True
) -> dict[str, Leaf]:
    """Return the values of a data set by path, such as "00400275/0/00081110"; an empty sequence is a value too.

    Raises: Malformed, also when the data set breaks off: what cannot be read to its end is never called the same.
    """
    try:
        return dict(_leaves(buffer, offset=offset, explicit=explicit, little=little, limits=limits, is_complete=is_complete))
    except needs_more as e:
        raise Malformed("the data set ends too soon.") from e


def _leaves(
    buffer: "bytes | memoryview", *, offset: int, explicit: bool, little: bool, limits: Limits, is_complete: bool
) -> Iterator[tuple[str, Leaf]]:
    names: list[str] = []  # by depth: "tag" of an open sequence, "number" of an open item
    counts: list[int] = []
    encodings: list[tuple[str, ...]] = [encodings_of("")]  # one for each open item, and the data set's
    for element in walk(buffer, offset=offset, explicit=explicit, little=little, limits=limits, is_complete=is_complete,
                        stop_at_pixels=True):
        tag, vr, _, at, length, depth = element
        while len(names) > depth:
            names.pop()
            counts.pop()
        del encodings[1 + len(names) // 2 :]
        if tag == _ITEM:
            counts[-1] += 1
            names.append(str(counts[-1] - 1))
            counts.append(0)
            encodings.append(encodings[-1])
            yield "/".join(names), Leaf("SQ", b"", little, ())  # an empty item is an item too
            continue
        if tag >> 16 == 0xFFFE:
            continue
        path = "/".join([*names, f"{tag:08X}"])
        vr = vr or vr_of(tag)
        is_sequence = vr == "SQ" or (length == UNDEFINED and not holds_fragments(tag, element.vr))
        is_left_out = tag & 0xFFFF == 0 or tag in PIXEL_DATA  # but a hostile group length may hold items
        if is_sequence or length == UNDEFINED:
            if not is_left_out:
                yield path, Leaf("SQ" if is_sequence else vr, b"", little, ())
            if length:
                names.append(f"{tag:08X}")
                counts.append(0)
            continue
        raw = bytes(buffer[at : at + length])
        if tag == _CHARSET:
            encodings[-1] = encodings_of(raw.decode("ascii", "replace").strip("\x00 "))
        if not is_left_out and tag not in _FOLLOWS_ENCODING:
            yield path, Leaf(vr, raw, little, encodings[-1])


def differing_tags(one: dict[str, Leaf], other: dict[str, Leaf]) -> set[int]:
    """Return the tags, at the data set's own level, whose values are not the same; a sequence stands for all in it."""
    return {
        int(path[:8], 16) for path in one.keys() | other.keys()
        if path not in one or path not in other or not _is_same(one[path], other[path])
    }


def _is_same(one: Leaf, other: Leaf) -> bool:
    if one.raw == other.raw and one.is_little == other.is_little and one.encodings == other.encodings:
        return True
    vr = one.vr if other.vr in _BINARY else other.vr if one.vr in _BINARY else one.vr
    return _canonical(one, vr) == _canonical(other, vr)


def _canonical(leaf: Leaf, vr: str) -> "bytes | tuple[str, ...]":
    """Return the value free of byte order, padding and character set."""
    if vr in _TEXT:
        text = decode_text(leaf.raw, leaf.encodings)
        parts = text.split("\\") if vr not in {"LT", "ST", "UT"} else [text]
        return tuple(part.strip(" \x00").rstrip("^=") if vr == "PN" else part.strip(" \x00") for part in parts)
    if vr in _ASCII:
        values = tuple(part.strip(" \x00") for part in leaf.raw.decode("latin-1").split("\\"))
        return _DECODED_TO.get(values, values)
    width = _WIDTHS.get(vr, 1)
    raw = leaf.raw
    if width > 1 and not leaf.is_little and len(raw) % width == 0:
        raw = b"".join(raw[at : at + width][::-1] for at in range(0, len(raw), width))
    return raw[:-1] if width == 1 and len(raw) % 2 == 0 and raw.endswith(b"\x00") else raw


def is_demographic(tag: int) -> bool:
    """Return whether a tag says something of the patient or the study, and nothing of the image."""
    return tag >> 16 in _PATIENT_GROUPS or tag in DEMOGRAPHIC_TAGS


def name_of(tag: int) -> str:
    """Return the keyword of a tag, else its eight digits."""
    return keyword_of(tag) or f"{tag:08X}"


def text_of(found: dict[str, Leaf], tag: int, *, longest: int = 200) -> str:
    """Return a value for people, cut to `longest`; "" when it is not there."""
    leaf = found.get(f"{tag:08X}")
    if leaf is None:
        return ""
    if leaf.vr == "SQ":
        items = {path.split("/")[1] for path in found if path.startswith(f"{tag:08X}/")}
        return f"{len(items)} item{'s' if len(items) != 1 else ''}"
    if leaf.vr in _TEXT or leaf.vr in _ASCII:
        text = " \\ ".join(str(part) for part in _canonical(leaf, leaf.vr))
        return "".join(c for c in text if c.isprintable())[:longest]
    if leaf.vr in {"US", "UL", "SS", "SL"} and len(leaf.raw) in {2, 4}:
        return str(int.from_bytes(leaf.raw, "little" if leaf.is_little else "big", signed=leaf.vr[0] == "S"))
    return f"{len(leaf.raw)} bytes"
