"""A place on disk for what must wait until a request is whole: encrypted, nameless, gone with its process.

The key is random, stays in memory and opens nothing else; the file has no name from the start. After a crash, a kill
or `close` nothing is left but blocks that nobody can read. Ref: docs/reference/object-format.md (the same chunks).
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from leadglass.crypto.stream import CHUNK, HEADER_LENGTH, Decryptor, Encryptor
from leadglass.errors import Damaged, Full

__all__ = ["Scratch"]

_PIECE: Final = 262144
_LOOK_EVERY: Final = 64 * 2**20  # bytes between two looks at the free space
_NO_KEY_ID: Final = bytes(16)


class Scratch:
    """Written once from the start to the end, then read in any order. One thread at a time; close it."""

    def __init__(self, directory: Path, *, free_bytes: Callable[[], int], reserve_bytes: int) -> None:
        """Args: directory: of the store's unfinished files. reserve_bytes: free space below which Full is raised."""
        self._free_bytes, self._reserve = free_bytes, reserve_bytes
        self._key, self._id = secrets.token_bytes(32), secrets.token_bytes(16)
        self._encryptor = Encryptor(self._key, _NO_KEY_ID, self._id)
        self._decryptor: Decryptor | None = None
        self._looked_at = 0
        self.length = 0
        self._look()
        self._descriptor = _nameless(directory)
        self._put(self._encryptor.header())

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        """Take plaintext. Raises: Full."""
        self.length += len(data)
        if self.length - self._looked_at >= _LOOK_EVERY:
            self._look()
        self._put(b"".join(self._encryptor.update(data)))

    def finish(self) -> None:
        """Say that nothing more is written; reading may begin. Raises: Full."""
        self._put(self._encryptor.finish())
        header = os.pread(self._descriptor, HEADER_LENGTH, 0)
        self._decryptor = Decryptor(header, self._key, object_id=self._id, length=self.length)

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """Give plaintext[offset:offset+length] in pieces. Raises: Damaged; ValueError, for a range outside."""
        if self._decryptor is None or offset < 0 or offset + length > self.length:
            raise ValueError("a range outside of what was written, or before it was finished")
        end = offset + length
        while offset < end:
            size = min(_PIECE, end - offset)
            first, last = self._decryptor.span(offset, size)
            start, stored = self._decryptor.stored_range(first, last)
            plain = self._decryptor.open_chunks(first, os.pread(self._descriptor, stored, start))
            skip = offset - first * CHUNK
            piece = plain[skip : skip + size]
            if not piece:
                raise Damaged("a scratch file ended early.")
            yield piece
            offset += len(piece)

    def close(self) -> None:
        """Give the space back; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _look(self) -> None:
        self._looked_at = self.length
        if self._free_bytes() < self._reserve:
            raise Full("the disk is nearly full: storing stops, reading goes on.", retry_after_seconds=60)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError as e:
                if e.errno in {28, 122}:  # ENOSPC, EDQUOT
                    raise Full("the disk is full; nothing more is stored until there is room.", retry_after_seconds=60) from e
                raise

    def __del__(self) -> None:
        """A request that was cut off twice leaves no descriptor open."""
        if hasattr(self, "_descriptor"):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _nameless(directory: Path) -> int:
    """Return a descriptor of a new file without a name; where the file system has none, of one whose name is gone."""
    with suppress(OSError, AttributeError):
        return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    path = directory / secrets.token_hex(16)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    path.unlink()
    return descriptor
