"""A draft and its bulk data become a data set, piece by piece. Ref: PS3.5 8, A.4; PS3.18 8.7.3.3.

Everything is checked before the first byte: native pixel data is as long as rows, columns, samples, bits and frames
say; compressed pixel data has one bit stream for each frame (video: one for all), and each begins as its media type
does. Sans-I/O: bulk data is read through a function, in pieces.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED
from leadglass.dicom.encode import BulkPlace, Draft, element_header
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, TRANSFER_SYNTAXES, TransferSyntax
from leadglass.dicom.value_representations import VALUE_REPRESENTATIONS
from leadglass.errors import Malformed

__all__ = ["BULK_SYNTAXES", "Bulk", "assemble", "syntax_of_bulk"]

_BEGINNINGS: Final = {  # of a frame's bit stream; a JP2 box or a JFIF wrapper of another kind is refused. PS3.5 8.2, A.4
    "image/jpeg": (b"\xff\xd8",), "image/jls": (b"\xff\xd8",), "image/jp2": (b"\xff\x4f",), "image/jpx": (b"\xff\x4f",),
    "image/jphc": (b"\xff\x4f",), "image/jxl": (b"\xff\x0a", b"\x00\x00"),
}
BULK_SYNTAXES: Final = {  # what a media type means when it names no transfer syntax. Ref: PS3.18 tables 8.7.3-4, 8.7.3-5
    "application/octet-stream": EXPLICIT_LITTLE, "image/jpeg": "1.2.840.10008.1.2.4.70", "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90", "image/jpx": "1.2.840.10008.1.2.4.92", "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/jxl": "1.2.840.10008.1.2.4.110", "image/dicom-rle": "1.2.840.10008.1.2.5", "video/mpeg2": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102", "video/h265": "1.2.840.10008.1.2.4.107",
}
_PIXEL_DATA: Final = 0x7FE00010
_MAX_OFFSET: Final = 0xFFFFFFFE
_ITEM: Final = struct.Struct("<HHI")
_SEQUENCE_END: Final = _ITEM.pack(0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """What arrived under one URI, part by part. `spans`: (offset, length) of the parts, as `read` takes them."""

    spans: tuple[tuple[int, int], ...]
    syntax: str  # transfer syntax UID; all parts have the same
    read: Callable[[int, int], Iterator[bytes]]


def syntax_of_bulk(media_type: str, named: str) -> str:
    """Return the transfer syntax of a bulk data part: the one that is named, else its media type's own; "" for none.

    Args: media_type: without parameters. named: untrusted; a syntax that the media type cannot carry gives "".
    """
    uid = named or BULK_SYNTAXES.get(media_type.lower(), "")
    syntax = TRANSFER_SYNTAXES.get(uid)
    if syntax is None:
        return ""
    if not syntax.encapsulated:
        return uid if media_type == "application/octet-stream" and uid in {EXPLICIT_LITTLE, IMPLICIT_LITTLE} else ""
    return uid if media_type.lower() in {syntax.media_type.lower(), "application/octet-stream"} else ""


def assemble(draft: Draft, bulk: Mapping[str, Bulk]) -> tuple[str, Iterator[bytes]]:
    """Return (transfer syntax, the data set in pieces). Raises: Malformed, before anything is written."""
    syntax = TRANSFER_SYNTAXES[EXPLICIT_LITTLE]
    if draft.inline_pixel_bytes >= 0:
        _check_native(draft, draft.inline_pixel_bytes, 1)
    plans: list[bytes | tuple[BulkPlace, Bulk]] = []
    for piece in draft.pieces:
        if isinstance(piece, bytes):
            plans.append(piece)
            continue
        found = bulk.get(piece.uri)
        if found is None:
            raise Malformed("bulk data that the metadata names did not come with it.")
        own = TRANSFER_SYNTAXES[found.syntax]
        if piece.is_top and piece.tag in PIXEL_DATA:
            if own.encapsulated:
                _check_compressed(piece, found, own, draft)
                syntax = own
            else:
                _check_native(draft, _length(found), len(found.spans))
        elif own.encapsulated or len(found.spans) != 1:
            raise Malformed("bulk data that is no pixel data is one part of octets.")
        elif found.spans[0][1] % VALUE_REPRESENTATIONS[piece.vr].unit:
            raise Malformed("binary data does not divide into the words of its VR.")
        if not own.encapsulated:
            element_header(piece.tag, piece.vr, _even(_length(found)))  # raises when it does not fit
        plans.append((piece, found))
    return syntax.uid, _pieces(plans)


def _length(bulk: Bulk) -> int:
    return sum(length for _, length in bulk.spans)


def _even(length: int) -> int:
    return length + length % 2


def _check_native(draft: Draft, length: int, parts: int) -> None:
    """Raises: Malformed, when the octets are not as many as the image has."""
    f = draft.facts
    if not (f["rows"] and f["columns"] and f["samples"] and f["bits"]):
        raise Malformed("the metadata does not say how large the image is.")
    if parts not in {1, f["frames"]}:
        raise Malformed("the pixel data has neither one part nor one for each frame.")
    pixels = f["rows"] * f["columns"] * f["frames"]
    samples = 2 if draft.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"} and f["samples"] == 3 else f["samples"]
    wanted = -(-pixels * samples * f["bits"] // 8)
    if length not in {wanted, _even(wanted)}:
        raise Malformed("the pixel data is not as long as the metadata says.")


def _check_compressed(place: BulkPlace, bulk: Bulk, syntax: TransferSyntax, draft: Draft) -> None:
    """Raises: Malformed, when there is not one bit stream for each frame, or one that begins as another kind does."""
    if place.tag != _PIXEL_DATA:
        raise Malformed("float pixel data cannot be compressed.")
    frames = 1 if syntax.media_type.startswith("video/") else draft.facts["frames"]
    if len(bulk.spans) != frames:
        raise Malformed("compressed pixel data has not one part for each frame.")
    beginnings = _BEGINNINGS.get(syntax.media_type, (b"",))
    for offset, length in bulk.spans:
        if not 0 < length <= _MAX_OFFSET:
            raise Malformed("a compressed frame is empty, or longer than a fragment can be.")
        if not b"".join(bulk.read(offset, min(2, length))).startswith(beginnings):
            raise Malformed("a compressed frame does not begin as its media type does.")


def _pieces(plans: list[bytes | tuple[BulkPlace, Bulk]]) -> Iterator[bytes]:
    for one in plans:
        if isinstance(one, bytes):
            yield one
            continue
        place, bulk = one
        if TRANSFER_SYNTAXES[bulk.syntax].encapsulated:
            yield from _encapsulated(place.tag, bulk)
            continue
        length = _length(bulk)
        yield element_header(place.tag, place.vr, _even(length))
        for offset, size in bulk.spans:
            yield from bulk.read(offset, size)
        yield bytes(length % 2)


def _encapsulated(tag: int, bulk: Bulk) -> Iterator[bytes]:
    """Give the element with one fragment a frame, and the offset table that says so where it can. Ref: PS3.5 A.4."""
    yield element_header(tag, "OB", UNDEFINED)
    offsets, at = [], 0
    for _, length in bulk.spans:
        offsets.append(at)
        at += 8 + _even(length)
    if len(offsets) == 1 or offsets[-1] > _MAX_OFFSET:
        offsets = []
    yield _ITEM.pack(0xFFFE, 0xE000, 4 * len(offsets)) + struct.pack(f"<{len(offsets)}I", *offsets)
    for offset, length in bulk.spans:
        yield _ITEM.pack(0xFFFE, 0xE000, _even(length))
        yield from bulk.read(offset, length)
        yield bytes(length % 2)
    yield _SEQUENCE_END
