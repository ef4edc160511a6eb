"""A stored instance, read in order: its header, its pixel data piece by piece or frame by frame, what follows.

Works over any transfer syntax, deflated ones too, in bounded memory: the header is at most max_header_bytes, the
pixels come in pieces. Ref: PS3.5 A, PS3.10 7.
"""

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from leadglass.archive.retrieve import InstanceRow
from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits, needs_more, walk
from leadglass.dicom.encapsulated import frame_fragments
from leadglass.dicom.image_pixel import ImagePixel
from leadglass.dicom.reencode import Encoding, swapped
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed
from leadglass.settings import Settings

if TYPE_CHECKING:
    from leadglass.storage.blobs import BlobReader

__all__ = ["StoredInstance", "limits_of"]

_PIECE: Final = 1 << 20  # even, and whole words of 8 bytes


def limits_of(settings: Settings) -> Limits:
    """Return what a data set may cost here."""
    return Limits(
        max_depth=settings.max_sequence_depth, max_elements=settings.max_elements,
        max_header_bytes=settings.max_header_bytes,
    )


class StoredInstance:
    """One instance under an open reader. Valid once made: its header is whole and within the limits."""

    def __init__(self, reader: "BlobReader", row: InstanceRow, settings: Settings) -> None:
        """Raises: Malformed (a limit, a broken structure), Damaged."""
        syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
        self.encoding = Encoding(syntax.explicit, syntax.little)
        self._row = row
        self._limit = settings.max_header_bytes
        self._data: BlobReader | _Inflated = reader
        start = row.dataset_offset
        if syntax.deflated:
            self._data, start = _Inflated(reader, row.dataset_offset, row.length), 0
        self._end = row.length if not syntax.deflated else -1
        size = self._limit
        if row.pixel_offset >= 0:
            size = row.pixel_offset - start + 12
            if size > self._limit:
                raise Malformed("the header is larger than the limit.")
        head = self._data.read(start, size if self._end < 0 else min(size, self._end - start))
        self.pixel_vr, self.pixel_tag, self.pixel_length, self._pixel_at = "", 0, 0, -1
        self.header = head
        if row.pixel_offset != -1:
            self._find_pixels(head, start, limits_of(settings))
        elif len(head) == size:
            raise Malformed("the data set is larger than the limit of what is re-encoded.")

    def _find_pixels(self, head: bytes, start: int, limits: Limits) -> None:
        try:
            for tag, vr, at, value, length, depth in walk(
                head, explicit=self.encoding.explicit, little=self.encoding.little, limits=limits, is_complete=False,
                stop_at_pixels=True, nested=False,
            ):
                if depth == 0 and tag in PIXEL_DATA:
                    self.header = head[:at]
                    self.pixel_tag, self.pixel_vr, self.pixel_length = tag, vr, length
                    self._pixel_at = start + value
                    return
        except needs_more as e:
            raise Malformed("the header is cut before its pixel data.") from e
        raise Malformed("the pixel data is not where the index saw it.")

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

    def frames(self, pixel: ImagePixel) -> Iterator[bytes]:
        """Give the frames in order: as compressed, or as native little endian pixels. Raises: Malformed, Damaged."""
        if self.is_encapsulated:
            assert not isinstance(self._data, _Inflated)
            for spans in frame_fragments(self._data.read, self._pixel_at, self._row.length, pixel.frames):
                yield b"".join(self._data.read(offset, size) for offset, size in spans)
            return
        length, rest = divmod(pixel.frame_bits, 8)
        if rest and pixel.frames > 1:
            raise Malformed("the frames share bytes: they are given as they are stored.")
        length += bool(rest)
        if length * pixel.frames > self.pixel_length:
            raise Malformed("the pixel data is shorter than its frames.")
        waiting = bytearray()
        left = pixel.frames
        for piece in self.value(1 if self.encoding.little else self.word_of(pixel.bits_allocated)):
            waiting += piece
            while left and len(waiting) >= length:
                yield bytes(waiting[:length])
                del waiting[:length]
                left -= 1

    def tail(self) -> bytes:
        """Return the elements after the pixel data. Raises: Malformed, when they are more than the limit."""
        if not self.has_pixels:
            return b""
        at = self._pixel_at + self.pixel_length
        if self.is_encapsulated:
            assert not isinstance(self._data, _Inflated)
            spans = frame_fragments(self._data.read, self._pixel_at, self._row.length, 1)[0]
            at = spans[-1][0] + spans[-1][1] + 8
        rest = self._data.read(at, self._limit)
        if len(rest) == self._limit:
            raise Malformed("what follows the pixel data is larger than the limit.")
        return rest


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
