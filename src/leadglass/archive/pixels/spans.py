"""Where values lie in a stored file, so that a part of one can be read alone: frames, whole pixel data, bulk values.

A span is (offset, length) in the Part 10 file; reading one decrypts the chunks that it touches and no others. What
does not lie in the file as it is given (deflated, big endian, bit-packed frames) has no spans and is made in memory.
Ref: PS3.18 10.4.1.1.5-6.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leadglass.archive.pixels.frames import frame_spans, pixel_value, shares_bytes
from leadglass.archive.retrieve import InstanceRow, bulk_places, open_instance, stored_pieces
from leadglass.dicom.elements import UNDEFINED
from leadglass.dicom.encapsulated import Spans, frame_fragments
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed, Missing

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["bulk_paths", "read_spans", "spans_of", "spans_of_pixels"]

_CACHE = 64  # instances
_MAX_KEPT = 2000  # values of one instance
_lock = threading.Lock()
_places: OrderedDict[str, dict[str, tuple[int, int]]] = OrderedDict()  # by object name: objects never change


def bulk_paths(archive: "Archive", row: InstanceRow) -> list[str]:
    """Return the path of each bulk value of the header, in order; pixel data is not among them."""
    return list(_known(archive, row))


def spans_of(archive: "Archive", row: InstanceRow, what: int | str) -> Spans | None:
    """Return where a frame (its number, from 1) or a bulk value (its path) lies as stored; None: it must be made.

    Raises: Missing, Malformed, Damaged.
    """
    if isinstance(what, str):
        place = _known(archive, row).get(what)
        if place is None:
            raise Missing("no such bulk data in this instance.")
        return None if TRANSFER_SYNTAXES[row.transfer_syntax_uid].deflated else [place]
    if row.pixel_offset == -1 or not 1 <= what <= row.frames:
        raise Missing("no such frame in this instance.")
    if row.pixel_offset == -2 or shares_bytes(row):
        return None
    with open_instance(archive, row) as reader:
        return frame_spans(reader, row, what)


def spans_of_pixels(archive: "Archive", row: InstanceRow) -> Spans | None:
    """Return where all of the pixel data lies: a native value, or every fragment of a video. Raises: Missing, Malformed."""
    if row.pixel_offset == -1:
        raise Missing("this instance holds no pixel data.")
    if row.pixel_offset == -2:
        return None
    with open_instance(archive, row) as reader:
        at, length = pixel_value(reader, row)
        if length == UNDEFINED:
            return frame_fragments(reader.read, at, row.length, 1)[0]
    if at + length > row.length:
        raise Malformed("the pixel data is shorter than its length says.")
    return [(at, length)]


def read_spans(
    archive: "Archive", row: InstanceRow, spans: Spans, start: int, stop: int, *, says_waits: bool = False
) -> Iterator[bytes]:
    """Give bytes `start` to `stop` of the spans in a row, as `stored_pieces` does. Raises: Missing, Damaged."""
    return stored_pieces(archive, row, _cut(spans, start, stop), says_waits=says_waits)


def _cut(spans: Spans, start: int, stop: int) -> Spans:
    found, at = [], 0
    for offset, length in spans:
        first, last = max(start - at, 0), min(stop - at, length)
        at += length
        if first < last:
            found.append((offset + first, last - first))
        if at >= stop:
            break
    return found


def _known(archive: "Archive", row: InstanceRow) -> dict[str, tuple[int, int]]:
    """Return path -> place in the data set's buffer; kept for a while, since a reader of ranges asks again and again."""
    with _lock:
        known = _places.get(row.object_name)
        if known is not None:
            _places.move_to_end(row.object_name)
            return known
    places = bulk_places(archive, row)[0]
    if len(places) <= _MAX_KEPT:
        with _lock:
            _places[row.object_name] = places
            while len(_places) > _CACHE:
                _places.popitem(last=False)
    return places
