"""DICOM bytes by hand: what no library would write."""

import struct

CT = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
UNDEFINED = 0xFFFFFFFF
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"}


def el(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Return an explicit little endian element; `length` overrides what the header claims."""
    value += b"\x00" * (len(value) % 2)
    claimed = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (struct.pack("<HI", 0, claimed) if vr in LONG else struct.pack("<H", claimed)) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def open_item(value: bytes) -> bytes:
    return item(value, UNDEFINED) + ITEM_END


def sequence(tag: int, *items: bytes) -> bytes:
    """Return a sequence of undefined length."""
    return el(tag, "SQ", b"".join(items) + SEQUENCE_END, UNDEFINED)


def identity(instance: bytes = b"1.2.3.4", study: bytes = b"1.2.3", series: bytes = b"1.2.3.1") -> bytes:
    return (
        el(0x00080016, "UI", CT) + el(0x00080018, "UI", instance) + el(0x00080060, "CS", b"CT")
        + el(0x0020000D, "UI", study) + el(0x0020000E, "UI", series)
    )


def meta(syntax: str = EXPLICIT) -> bytes:
    body = el(0x00020010, "UI", syntax.encode())
    return bytes(128) + b"DICM" + el(0x00020000, "UL", struct.pack("<I", len(body))) + body
