"""One frame of an instance, read alone: as stored, as pixels, or as a picture. Ref: PS3.18 10.4.1.1.6, 8.3.5; PS3.5 A.4."""

from typing import TYPE_CHECKING, Any, Final

from leadglass.archive.pixels.conversions import targets_of
from leadglass.archive.pixels.stored import StoredInstance, fragments_of
from leadglass.archive.retrieve import InstanceRow, open_instance
from leadglass.dicom.elements import UNDEFINED, Limits, walk
from leadglass.dicom.encapsulated import Spans, native_frame
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.errors import Malformed, Missing

if TYPE_CHECKING:
    from leadglass.archive import Archive
    from leadglass.storage.blobs import BlobReader

__all__ = [
    "MAX_AT_HAND", "MAX_FRAMES_OF_A_FILM", "frame_at_hand", "frame_bytes", "frame_in", "frame_spans", "picture", "pixel_value",
    "shares_bytes",
]

MAX_AT_HAND: Final = 4 << 20  # bytes of a frame that is given without a change of thread
MAX_FRAMES_OF_A_FILM = 300  # frames of an image/gif
_PLAIN: Final[dict[str, Any]] = {
    "media_type": "image/jpeg", "viewport": None, "window": None, "quality": 90, "annotation": [], "icc": "no",
}


def pixel_value(reader: "BlobReader", row: InstanceRow) -> tuple[int, int]:
    """Return (offset, length) of the pixel data's value; length UNDEFINED when it is encapsulated."""
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    raw = reader.read(row.pixel_offset, min(12, row.length - row.pixel_offset))
    # The walk knows which header stands here: real files mix implicit elements into explicit data sets.
    found = next(walk(raw, explicit=syntax.explicit, little=syntax.little, limits=Limits(), stop_at_pixels=True), None)
    if found is None:
        raise Malformed("the pixel data is cut.")
    return row.pixel_offset + found.value, found.length


def frame_spans(reader: "BlobReader", row: InstanceRow, number: int) -> Spans:
    """Return where frame `number` lies in the stored file: (offset, length) of its runs. Raises: Malformed, Damaged."""
    at, length = pixel_value(reader, row)
    if length == UNDEFINED:
        return fragments_of(reader.read, row, at)[number - 1]
    if at + length > row.length:
        raise Malformed("the pixel data is shorter than its length says.")
    return [native_frame(at, length, row.frames, number)]


def frame_bytes(archive: "Archive", row: InstanceRow, number: int, *, want_raw: bool) -> tuple[str, bytes]:
    """Return (transfer syntax UID, bytes) of frame `number` (from 1).

    As stored, unless `want_raw` asks for little endian pixels of what is compressed, deflated or big endian; colours
    are then laid out as the header says. Raises: Missing, Malformed, Busy (decoding).
    """
    if row.pixel_offset == -1 or not 1 <= number <= row.frames:
        raise Missing("no such frame in this instance.")
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    is_made = want_raw and (syntax.encapsulated or not syntax.little)
    with open_instance(archive, row) as reader:
        if row.pixel_offset != -2 and not is_made and not shares_bytes(row):
            data = b"".join(reader.read(offset, size) for offset, size in frame_spans(reader, row, number))
            return (row.transfer_syntax_uid if syntax.encapsulated or not syntax.little else EXPLICIT_LITTLE), data
        stored = StoredInstance(reader, row, archive.settings)
        pixel = stored.described()
        data = stored.frame(pixel, number)
    if stored.is_encapsulated:
        data, _ = archive.decoder.recode(data, row.transfer_syntax_uid, "", pixel, planar=pixel.planar)
    return EXPLICIT_LITTLE, data


def frame_at_hand(
    archive: "Archive", row: InstanceRow, number: int, before: bytes, after: bytes
) -> bytes | None:
    """Return frame `number` (from 1) as it lies in the file, between `before` and `after`; without waiting for anything.

    None, where that cannot be: its bytes are not in memory, it lies in pieces, or it is larger than MAX_AT_HAND. It then
    goes the way of `frame_bytes`. Args: row: of an instance whose frames are given as stored.
    Raises: Malformed, Damaged, Missing.
    """
    if row.pixel_offset < 0 or shares_bytes(row):
        return None
    try:
        with open_instance(archive, row, is_at_hand=True) as reader:
            spans = frame_spans(reader, row, number)
            if len(spans) != 1 or spans[0][1] > MAX_AT_HAND:
                return None
            return reader.framed(before, *spans[0], after)
    except BlockingIOError:
        return None


def frame_in(archive: "Archive", row: InstanceRow, number: int, target: str) -> bytes:
    """Return frame `number` (from 1) in the compressed transfer syntax `target`, without loss.

    Raises: Missing, Malformed (not one of `targets_of`, or it cannot be converted after all), Busy.
    """
    if row.pixel_offset == -1 or not 1 <= number <= row.frames:
        raise Missing("no such frame in this instance.")
    if target not in targets_of(row) or not TRANSFER_SYNTAXES[target].encapsulated:
        raise Malformed("the frame cannot be given in this transfer syntax.")
    with open_instance(archive, row) as reader:
        stored = StoredInstance(reader, row, archive.settings)
        pixel = stored.described()
        data = stored.frame(pixel, number)
    return archive.decoder.recode(data, row.transfer_syntax_uid if stored.is_encapsulated else "", target, pixel)[0]


def shares_bytes(row: InstanceRow) -> bool:
    """Return whether frames of one bit a pixel do not end on whole bytes. Ref: PS3.5 8.1.1."""
    return row.bits_allocated == 1 and row.frames > 1 and (row.rows or 0) * (row.columns or 0) % 8 != 0


def picture(archive: "Archive", row: InstanceRow, numbers: list[int], wanted: dict[str, Any]) -> tuple[str, bytes]:
    """Return (media type, picture) of frames; more than one only for image/gif. `wanted`: see archive.pixels.rendering;
    what it leaves out is as plain as can be.

    Raises: Malformed (cannot be rendered), Missing, Busy.
    """
    if row.pixel_offset == -1:
        raise Malformed("this instance holds no image.")
    if not numbers or not all(1 <= n <= row.frames for n in numbers):
        raise Missing("no such frame in this instance.")
    if len(numbers) > MAX_FRAMES_OF_A_FILM:
        raise Malformed(f"at most {MAX_FRAMES_OF_A_FILM} frames in one picture.")
    with open_instance(archive, row) as reader:
        stored = StoredInstance(reader, row, archive.settings)
        pixel = stored.described()
        frames, size = [], 0
        for number in numbers:
            frames.append(stored.frame(pixel, number))
            size += len(frames[-1])
            if size > archive.settings.decode_memory_bytes // 8:
                raise Malformed("the frames are too large for one picture.")
    source = row.transfer_syntax_uid if stored.is_encapsulated else ""
    facts = {**_PLAIN, **wanted, "numbers": numbers, "tag": stored.pixel_tag}
    return archive.decoder.render(stored.header, stored.encoding, frames, source, pixel, facts)
