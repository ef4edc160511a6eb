"""A stored instance, read in order: its header, its pixel data piece by piece or frame by frame, what follows.

Works over any transfer syntax, deflated ones too, in bounded memory: the header is at most max_header_bytes, the
pixels come in pieces. Ref: PS3.5 A, PS3.10 7.
"""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from leadglass.archive.pixels.conversions import why_not_decoded
from leadglass.archive.retrieve import InstanceRow
from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits, needs_more, walk
from leadglass.dicom.encapsulated import Spans, frame_fragments
from leadglass.dicom.image_pixel import ImagePixel, read_image_pixel
from leadglass.dicom.reencode import Encoding, swapped
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed
from leadglass.settings import Settings

if TYPE_CHECKING:
    from leadglass.storage.blobs import BlobReader

__all__ = ["StoredInstance", "fragments_of", "limits_of"]

_PIECE: Final = 1 << 20  # even, and whole words of 8 bytes
_CACHE: Final = 256
_lock = threading.Lock()
_fragments: OrderedDict[str, list[Spans]] = OrderedDict()  # by object name: objects never change


def limits_of(settings: Settings) -> Limits:
    """Return what a data set may cost here."""
    return Limits(
        max_depth=settings.max_sequence_depth, max_elements=settings.max_elements,
        max_header_bytes=settings.max_header_bytes,
    )


class StoredInstance:
    """One instance under an open reader. Valid once made: where its pixels lie is known; the header is read when asked."""

    def __init__(self, reader: "BlobReader", row: InstanceRow, settings: Settings) -> None:
        """Raises: Malformed (a limit, a broken structure), Damaged."""
        syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
        self.encoding = Encoding(syntax.explicit, syntax.little)
        self._row = row
        self._limits = limits_of(settings)
        self._max_pixels = settings.max_frame_pixels
        self._data: BlobReader | _Inflated = reader
        self._start = row.dataset_offset
        self.pixel_vr, self.pixel_tag, self.pixel_length, self._pixel_at = "", 0, 0, -1
        if syntax.deflated:
            self._data, self._start = _Inflated(reader, row.dataset_offset, row.length), 0
        if row.pixel_offset >= 0:
            self._header_end = row.pixel_offset
            self._see_pixels(self._data.read(row.pixel_offset, 12), row.pixel_offset)
        elif row.pixel_offset == -2:
            self._search_pixels()

    def _see_pixels(self, raw: bytes, at: int) -> None:
        """Read the head of the pixel data element, which lies at `at`."""
        for tag, vr, _, value, length, _ in walk(
            raw, explicit=self.encoding.explicit, little=self.encoding.little, limits=self._limits, is_complete=False,
            stop_at_pixels=True,
        ):
            if tag in PIXEL_DATA:
                self.pixel_tag, self.pixel_vr, self.pixel_length, self._pixel_at = tag, vr, length, at + value
                return
        raise Malformed("the pixel data is not where the index saw it.")

    def _search_pixels(self) -> None:
        """Find the pixel data of a deflated data set."""
        head = self._data.read(self._start, self._limits.max_header_bytes)
        try:
            for tag, _, at, _, _, depth in walk(
                head, explicit=self.encoding.explicit, little=self.encoding.little, limits=self._limits,
                is_complete=False, stop_at_pixels=True, nested=False,
            ):
                if depth == 0 and tag in PIXEL_DATA:
                    self._header_end = at
                    self._see_pixels(head[at : at + 12], at)
                    return
        except needs_more as e:
            raise Malformed("the header is cut before its pixel data.") from e
        raise Malformed("the pixel data is not where the index saw it.")

    @cached_property
    def header(self) -> bytes:
        """The elements before the pixel data, or all of them where there is none. Raises: Malformed, Damaged."""
        limit = self._limits.max_header_bytes
        size = self._header_end - self._start if self.has_pixels else limit
        if size > limit:
            raise Malformed("the header is larger than the limit.")
        head = self._data.read(self._start, size)
        if not self.has_pixels and len(head) == limit:
            raise Malformed("the data set is larger than the limit of what is re-encoded.")
        return head

    @property
    def has_pixels(self) -> bool:
        """Whether there is pixel data, of any kind."""
        return self._pixel_at >= 0

    @property
    def is_encapsulated(self) -> bool:
        """Whether the pixels are compressed frames in fragments."""
        return self.pixel_length == UNDEFINED

    def word_of(self, bits_allocated: int) -> int:
        """Return the bytes that change places in native pixel data between byte orders. Ref: PS3.5 7.3, 8.1.1."""
        if bits_allocated > 8:
            return bits_allocated // 8
        return 1 if self.pixel_vr == "OB" else 2

    def value(self, word: int) -> Iterator[bytes]:
        """Give the native pixel data, each word of `word` bytes turned, in pieces."""
        at, end = self._pixel_at, self._pixel_at + self.pixel_length
        while at < end:
            piece = self._data.read(at, min(_PIECE, end - at))
            if not piece:
                raise Malformed("the pixel data is shorter than its length says.")
            yield swapped(piece, word)
            at += len(piece)

    def described(self) -> ImagePixel:
        """Return how the header describes a frame. Raises: Malformed, when it does not, or when it is too large."""
        reason = why_not_decoded(self._row.transfer_syntax_uid) if self.is_encapsulated else ""
        if reason:
            raise Malformed(reason)
        pixel = replace(read_image_pixel(
            self.header, explicit=self.encoding.explicit, little=self.encoding.little, limits=self._limits,
        ), frames=self._row.frames)
        if pixel.rows * pixel.columns > self._max_pixels:
            raise Malformed("the frame has more pixels than may be decoded.")
        return pixel

    def frames(self, pixel: ImagePixel) -> Iterator[bytes]:
        """Give the frames in order: as compressed, or as native little endian pixels. Raises: Malformed, Damaged."""
        for number in range(1, pixel.frames + 1):
            yield self.frame(pixel, number)

    def frame(self, pixel: ImagePixel, number: int) -> bytes:
        """Return one frame (from 1); bits that share bytes with another frame's are moved to begin a byte."""
        if self.is_encapsulated:
            return self.encoded_frame(number)
        if pixel.frame_bits * number > self.pixel_length * 8:
            raise Malformed("the pixel data is shorter than its frames.")
        first, offset = divmod(pixel.frame_bits * (number - 1), 8)
        length = (offset + pixel.frame_bits + 7) // 8
        word = 1 if self.encoding.little else self.word_of(pixel.bits_allocated)
        before = first % word
        raw = self._data.read(self._pixel_at + first - before, -(-(before + length) // word) * word)
        raw = swapped(raw, word)[before : before + length]
        if len(raw) < length:
            raise Malformed("the pixel data is shorter than its frames.")
        if offset == 0:
            return raw
        bits = int.from_bytes(raw, "little") >> offset
        size = (pixel.frame_bits + 7) // 8
        return (bits & ((1 << pixel.frame_bits) - 1)).to_bytes(size, "little")

    def encoded_frame(self, number: int) -> bytes:
        """Return one compressed frame (from 1): its fragments joined. Raises: Malformed, Damaged."""
        return b"".join(self._data.read(offset, size) for offset, size in self.fragments()[number - 1])

    def fragments(self) -> list[Spans]:
        """Return where the fragments of each frame lie. Raises: Malformed, Damaged."""
        return fragments_of(self._data.read, self._row, self._pixel_at)

    def tail(self) -> bytes:
        """Return the elements after the pixel data. Raises: Malformed, when they are more than the limit."""
        if not self.has_pixels:
            return b""
        at = self._pixel_at + self.pixel_length
        if self.is_encapsulated:
            last = self.fragments()[-1][-1]
            at = last[0] + last[1] + 8  # after the sequence delimiter
        rest = self._data.read(at, self._limits.max_header_bytes)
        if len(rest) == self._limits.max_header_bytes:
            raise Malformed("what follows the pixel data is larger than the limit.")
        return rest


def fragments_of(read: Callable[[int, int], bytes], row: InstanceRow, at: int) -> list[Spans]:
    """Return where the fragments of each frame lie; kept for the instances that were read last. Raises: Malformed, Damaged.

    Args: at: offset of the first item of the pixel data.
    """
    with _lock:
        known = _fragments.get(row.object_name)
        if known is not None:
            _fragments.move_to_end(row.object_name)
            return known
    spans = frame_fragments(read, at, row.length, row.frames)
    with _lock:
        _fragments[row.object_name] = spans
        while len(_fragments) > _CACHE:
            _fragments.popitem(last=False)
    return spans


class _Inflated:
    """Reads a deflated data set forward; going back begins anew. zlib gets a limit each time: a bomb costs nothing."""

    def __init__(self, reader: "BlobReader", start: int, end: int) -> None:
        self._reader, self._start, self._end = reader, start, end
        self._rewind()

    def _rewind(self) -> None:
        self._machine = zlib.decompressobj(-15)
        self._next = self._start
        self._at = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` inflated bytes from `offset`. Raises: Malformed."""
        if offset < self._at:
            self._rewind()
        while self._at < offset:
            if not self._some(min(_PIECE, offset - self._at)):
                return b""
        out = bytearray()
        while len(out) < length:
            piece = self._some(min(_PIECE, length - len(out)))
            if not piece:
                break
            out += piece
        return bytes(out)

    def _some(self, limit: int) -> bytes:
        """Return between 1 and `limit` bytes, or none at the end."""
        while not self._machine.eof:
            given = self._machine.unconsumed_tail
            if not given:
                given = self._reader.read(self._next, min(1 << 16, self._end - self._next))
                self._next += len(given)
            try:
                out = self._machine.decompress(given, limit)
            except zlib.error as e:
                raise Malformed("the deflated data set cannot be inflated.") from e
            if out:
                self._at += len(out)
                return out
            if not given:
                break
        return b""
