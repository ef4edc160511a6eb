"""An instance in another transfer syntax, without loss, in bounded memory. Ref: PS3.5 8, 10, A.

Steps: 1 the target is one of `targets_of`; 2 the header is read within its limits; 3 the first frame is decoded and
encoded in a decode process, which says what colours and planes it has become; 4 the header is re-encoded there with
the attributes that this changes; 5 frame after frame follows. Until step 5 nothing has left, so that what cannot be
converted is said before the first byte. The stored object is never changed.
"""

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from leadglass.archive.pixels.conversions import targets_of
from leadglass.archive.pixels.stored import StoredInstance
from leadglass.archive.retrieve import InstanceRow, open_instance, stored_pieces
from leadglass.dicom.elements import UNDEFINED
from leadglass.dicom.image_pixel import ImagePixel
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.reencode import Encoding, swapped
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["converted"]

_OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)  # they say where fragments lay
_MAX_NATIVE: Final = 0xFFFFFFFE


def converted(archive: "Archive", row: InstanceRow, target: str, *, is_file: bool) -> Iterator[bytes]:
    """Give the instance in `target`: a Part 10 file, or the bare data set. Raises: Malformed, Damaged, Missing, Busy."""
    if target not in targets_of(row):
        raise Malformed("the instance cannot be given in this transfer syntax.")
    if target == row.transfer_syntax_uid:
        start = 0 if is_file else row.dataset_offset
        yield from stored_pieces(archive, row, [(start, row.length - start)])
        return
    with open_instance(archive, row) as reader:
        pieces = _data_set(archive, StoredInstance(reader, row, archive.settings), row, target)
        first = next(pieces)
        if is_file:
            yield file_meta(row.sop_class_uid, row.sop_instance_uid, target)
        pieces = itertools.chain([first], pieces)
        yield from _deflated(pieces) if TRANSFER_SYNTAXES[target].deflated else pieces


def _data_set(archive: "Archive", stored: StoredInstance, row: InstanceRow, target: str) -> Iterator[bytes]:
    syntax = TRANSFER_SYNTAXES[target]
    encoding = Encoding(syntax.explicit, syntax.little)
    decoder = archive.decoder
    if not stored.has_pixels:
        yield decoder.header(stored.header, stored.encoding, encoding, {}, row.transfer_syntax_uid)
        return
    changes: dict[int, Any] = dict.fromkeys(_OFFSET_TABLES)
    if not stored.is_encapsulated and not syntax.encapsulated:
        head, pixels = _native_again(stored, row, encoding)
    else:
        pixel = stored.described()
        now, frames = _recoded(archive, stored, row, pixel, target if syntax.encapsulated else "")
        changes |= _changes(pixel, now, encoding)
        head, pixels = _fragments(frames) if syntax.encapsulated else _decompressed(now, frames, encoding)
    header = decoder.header(stored.header, stored.encoding, encoding, changes, row.transfer_syntax_uid)
    rest = stored.tail()
    tail = decoder.header(rest, stored.encoding, encoding, {}, row.transfer_syntax_uid) if rest else b""
    yield header + head
    yield from pixels
    yield tail


def _recoded(
    archive: "Archive", stored: StoredInstance, row: InstanceRow, pixel: ImagePixel, target: str
) -> tuple[ImagePixel, Iterator[bytes]]:
    """Return (what the frames become, the frames). The first is made at once; the others must become the same."""
    source = row.transfer_syntax_uid if stored.is_encapsulated else ""
    frames = stored.frames(pixel)
    try:
        first, now = archive.decoder.recode(next(frames), source, target, pixel)
    except StopIteration as e:
        raise Malformed("the pixel data has no frame.") from e

    def rest() -> Iterator[bytes]:
        yield first
        for frame in frames:
            data, this = archive.decoder.recode(frame, source, target, pixel)
            if this != now:
                raise Malformed("the frames of the image differ in their colours.")
            yield data

    return now, rest()


def _changes(before: ImagePixel, now: ImagePixel, encoding: Encoding) -> dict[int, tuple[str, bytes] | None]:
    """Return the attributes that a conversion changes. Ref: PS3.5 8.2."""
    changes: dict[int, tuple[str, bytes] | None] = {}
    if now.photometric != before.photometric:
        changes[0x00280004] = ("CS", now.photometric.encode("ascii"))
    if now.samples > 1:
        changes[0x00280006] = ("US", struct.pack("<H" if encoding.little else ">H", now.planar))
    return changes


def _native_again(stored: StoredInstance, row: InstanceRow, encoding: Encoding) -> tuple[bytes, Iterator[bytes]]:
    """Return (element's head, its value in pieces): native pixels, in the other byte order where that changes."""
    bits = row.bits_allocated or 8
    vr = stored.pixel_vr or _native_vr(stored.pixel_tag, bits)
    word = stored.word_of(bits) if stored.encoding.little != encoding.little else 1
    if not encoding.little or not stored.encoding.little:
        vr = _native_vr(stored.pixel_tag, bits)
    if stored.encoding.little and not encoding.little and bits <= 8:
        word = 1  # bytes leave as OB, which has no order
    odd = stored.pixel_length % 2
    length = stored.pixel_length + odd
    return _pixel_head(stored.pixel_tag, vr, length, encoding), itertools.chain(stored.value(word), [bytes(odd)])


def _native_vr(tag: int, bits: int) -> str:
    return {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, "OW" if bits > 8 else "OB")


def _pixel_head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    order = "<" if encoding.little else ">"
    if not encoding.explicit:
        return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)
    return struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)


def _decompressed(now: ImagePixel, frames: Iterable[bytes], encoding: Encoding) -> tuple[bytes, Iterator[bytes]]:
    """Return (element's head, its value in pieces) of what was compressed."""
    if now.frame_bits % 8 and now.frames > 1:
        raise Malformed("the frames share bytes: they are given as they are stored.")
    size = (now.frame_bits + 7) // 8 * now.frames
    if size > _MAX_NATIVE:
        raise Malformed("the pixels would be larger than a native data element may be.")
    word = 1 if encoding.little else max(1, now.bits_allocated // 8)
    pieces = (swapped(frame, word) for frame in frames)
    head = _pixel_head(0x7FE00010, _native_vr(0x7FE00010, now.bits_allocated), size + size % 2, encoding)
    return head, itertools.chain(pieces, [bytes(size % 2)])


def _fragments(frames: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return (element's head, its items): an empty offset table and one fragment a frame. Ref: PS3.5 A.4."""
    explicit = Encoding(explicit=True, little=True)
    head = _pixel_head(0x7FE00010, "OB", UNDEFINED, explicit) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)

    def items() -> Iterator[bytes]:
        for frame in frames:
            yield struct.pack("<HHI", 0xFFFE, 0xE000, len(frame))
            yield frame
        yield struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

    return head, items()


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the pieces deflated, with an even length in all. Ref: PS3.5 A.5."""
    packer = zlib.compressobj(wbits=-15)
    size = 0
    for piece in pieces:
        packed = packer.compress(piece)
        size += len(packed)
        if packed:
            yield packed
    packed = packer.flush()
    yield packed + bytes((size + len(packed)) % 2)
