"""One frame of an instance, read alone. Ref: PS3.18 10.4.1.1.6, PS3.5 A.4."""

import struct
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from leadglass.archive.retrieve import InstanceRow, open_instance
from leadglass.dicom.elements import UNDEFINED
from leadglass.dicom.encapsulated import Spans, frame_fragments, native_frame
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.errors import Malformed, Missing

if TYPE_CHECKING:
    from leadglass.archive import Archive
    from leadglass.storage.blobs import BlobReader

__all__ = ["frame_bytes", "frame_spans", "pixel_value", "stored_frame"]

_CACHE = 256
_lock = threading.Lock()
_fragments: OrderedDict[str, list[Spans]] = OrderedDict()  # by object name: objects never change


def pixel_value(reader: "BlobReader", row: InstanceRow) -> tuple[int, int]:
    """Return (offset, length) of the pixel data's value; length UNDEFINED when it is encapsulated."""
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    raw = reader.read(row.pixel_offset, 12)
    if len(raw) < 8:
        raise Malformed("the pixel data is cut.")
    order = "<" if syntax.little else ">"
    if not syntax.explicit:
        return row.pixel_offset + 8, struct.unpack_from(order + "I", raw, 4)[0]
    return row.pixel_offset + 12, struct.unpack_from(order + "I", raw, 8)[0]


def frame_bytes(archive: "Archive", row: InstanceRow, number: int, *, want_raw: bool) -> tuple[str, bytes]:
    """Return (transfer syntax UID, bytes) of frame `number` (from 1).

    As stored, unless `want_raw` asks for little endian pixels of what is compressed, deflated or big endian.
    Raises: Missing, Malformed, Busy (decoding).
    """
    if row.pixel_offset == -1 or not 1 <= number <= row.frames:
        raise Missing("no such frame in this instance.")
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    shares_bytes = row.bits_allocated == 1 and row.frames > 1 and (row.rows or 0) * (row.columns or 0) % 8 != 0
    if row.pixel_offset == -2 or shares_bytes:
        return EXPLICIT_LITTLE, archive.decoder.raw(archive, row, number)
    data = stored_frame(archive, row, number)
    if syntax.encapsulated and want_raw:
        return EXPLICIT_LITTLE, archive.decoder.raw(archive, row, number, frame=data)
    if not syntax.little and want_raw and (row.bits_allocated or 8) > 8:
        return EXPLICIT_LITTLE, archive.decoder.raw(archive, row, number, frame=data)
    return (row.transfer_syntax_uid if syntax.encapsulated or not syntax.little else EXPLICIT_LITTLE), data


def stored_frame(archive: "Archive", row: InstanceRow, number: int) -> bytes:
    """Return the bytes of one frame as stored; only its chunks are decrypted."""
    with open_instance(archive, row) as reader:
        spans = frame_spans(reader, row, number)
        return b"".join(reader.read(offset, size) for offset, size in spans)


def frame_spans(reader: "BlobReader", row: InstanceRow, number: int) -> Spans:
    """Return where frame `number` lies in the stored file: (offset, length) of its runs. Raises: Malformed, Damaged."""
    at, length = pixel_value(reader, row)
    if length == UNDEFINED:
        return _spans(reader, row, at)[number - 1]
    if at + length > row.length:
        raise Malformed("the pixel data is shorter than its length says.")
    return [native_frame(at, length, row.frames, number)]


def _spans(reader: "BlobReader", row: InstanceRow, at: int) -> list[Spans]:
    with _lock:
        known = _fragments.get(row.object_name)
        if known is not None:
            _fragments.move_to_end(row.object_name)
            return known
    spans = frame_fragments(reader.read, at, row.length, row.frames)
    with _lock:
        _fragments[row.object_name] = spans
        while len(_fragments) > _CACHE:
            _fragments.popitem(last=False)
    return spans
