"""Objects at rest: the BlobStore contract, and the POSIX store behind it.

Trusts: the key it is handed. Refuses: names that it did not make. Only ciphertext reaches the disk, temporary files
included. Durable means: file data, directory entry, and new directories are on the disk when `settle` or `seal` returns.
Unsafe to rely on: the order of `names`, and what `incoming/` holds after a crash.
"""

import contextlib
import errno
import itertools
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from leadglass.crypto.stream import CHUNK, HEADER_LENGTH, STORED_CHUNK, Decryptor, Encryptor, stored_length
from leadglass.errors import Damaged, Missing
from leadglass.storage.object_writer import Directories, ObjectWriter
from leadglass.storage.scratch import Scratch

__all__ = ["BlobReader", "BlobStore", "BlobWriter", "PosixBlobs"]

_NAME = re.compile(r"[0-9a-f]{32}")
_PIECE = 262144  # four chunks
_TOGETHER = 256  # objects whose names begin alike
_SEALED_ROOM = 1 << 20  # bytes; a larger piece gets room of its own
_sealed = threading.local()  # room for the ciphertext of a piece: new memory for each would cost more than deciphering it


class BlobWriter(Protocol):
    """One object being written."""

    name: str

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        """Take plaintext. Raises: Full."""

    def end(self) -> int:
        """Say that nothing more comes; return the plaintext length. Not durable yet, and not to be named. Raises: Full."""

    def settle_soon(self) -> None:
        """After `end`: begin to make the object durable, without waiting."""

    def settle(self) -> None:
        """After `end`: return when the object is durable; may be called again. Raises: Full."""

    def seal(self) -> int:
        """`end` and `settle`: durable when it returns. Raises: Full."""

    def discard(self) -> None:
        """Leave nothing behind; may be called at any time, also twice."""


class BlobReader(Protocol):
    """One object being read; close it, or use it in a `with`."""

    length: int

    def read(self, offset: int, length: int) -> bytes:
        """Return plaintext[offset:offset+length]. Raises: Damaged."""

    def stream(self, offset: int = 0, length: int | None = None, *, says_waits: bool = False) -> Iterator[bytes]:
        """Give the range in pieces of 256 KiB. Raises: Damaged.

        With `says_waits` an empty piece comes before one that has to be waited for (a disk): whoever may not wait, an event
        loop, then pulls the next one in a thread.
        """

    def framed(self, before: bytes, offset: int, length: int, after: bytes) -> bytes:
        """Return plaintext[offset:offset+length] with `before` and `after` around it, copied once. Raises: Damaged."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None: ...


class BlobStore(Protocol):
    """Where objects lie. Every implementation passes tests/storage/contract_blobs.py."""

    def create(self, key: bytes, key_id: bytes) -> BlobWriter:
        """Return a writer for a new object with a random name."""

    def open(self, name: str, key: bytes, length: int, *, is_at_hand: bool = False) -> BlobReader:
        """Return a reader. Raises: Missing, Damaged.

        With `is_at_hand` nothing waits for a disk: this and each read raise BlockingIOError where the bytes are not in memory.
        """

    def is_there(self, name: str, length: int) -> bool:
        """Return whether the object is there with its stored length; its content is not read."""

    def scratch(self, reserve_bytes: int) -> Scratch:
        """Return a place for what must wait; nothing of it outlives this process. Raises: Full."""

    def delete(self, name: str) -> None:
        """Remove an object; no error if it is gone."""

    def names(self) -> Iterator[str]:
        """Give the names of all objects that were ended."""

    def free_bytes(self) -> int:
        """Return the free space, in bytes."""

    def sweep(self, is_known: Callable[[str], bool], older_than_seconds: float) -> int:
        """Delete leftovers: unfinished files, and objects unknown to the index; return how many."""


class PosixBlobs:
    """Objects as files: <root>/ab/<32 hex digits>, where ab are the name's first digits: 256 directories, made once."""

    def __init__(self, root: Path, on_damage: Callable[[str], None] = lambda _: None) -> None:
        """Args: on_damage: told the name of an object that was not there or did not verify when it was read."""
        self._root = root
        self._root_text = str(root)
        self._on_damage = on_damage
        self._incoming = root / "incoming"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directories = Directories(root)
        self._names = itertools.count()
        self._first = ""  # digits with which names begin for a while: objects that come together share a directory's fsync

    def _path(self, name: str) -> Path:
        return Path(self._place(name))

    def _place(self, name: str) -> str:
        """Return the path as text: a hot read has no time for a Path."""
        if not _NAME.fullmatch(name):  # a name from anywhere else must not become a path
            raise Missing("no such object.")
        return f"{self._root_text}/{name[:2]}/{name}"

    def create(self, key: bytes, key_id: bytes) -> ObjectWriter:
        """Return a writer; its file is in incoming/ until it is ended."""
        if next(self._names) % _TOGETHER == 0:
            self._first = secrets.token_hex(1)
        name = self._first + secrets.token_hex(15)
        encryptor = Encryptor(key, key_id, bytes.fromhex(name))
        return ObjectWriter(self._directories, self._path(name), self._incoming / name, encryptor)

    def open(self, name: str, key: bytes, length: int, *, is_at_hand: bool = False) -> "_Reader":
        """Return a reader; with `is_at_hand`, of what the page cache holds. Raises: Missing, Damaged, BlockingIOError."""
        try:
            descriptor = os.open(self._place(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as e:
            self._on_damage(name)
            raise Missing("an object that the index names is not there.") from e
        try:
            return _Reader(descriptor, name, key, length, self._on_damage, is_at_hand=is_at_hand)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except BaseException:
            os.close(descriptor)
            self._on_damage(name)
            raise

    def scratch(self, reserve_bytes: int) -> Scratch:
        """Return a place for what must wait; nothing of it outlives this process. Raises: Full."""
        return Scratch(self._incoming, free_bytes=self.free_bytes, reserve_bytes=reserve_bytes)

    def is_there(self, name: str, length: int) -> bool:
        """Return whether the object is there with its stored length; its content is not read."""
        try:
            return self._path(name).stat().st_size == stored_length(length)
        except OSError:
            return False

    def delete(self, name: str) -> None:
        """Remove an object; no error if it is gone."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Give the names of all objects that were ended."""
        for first in sorted(self._root.iterdir()):
            if len(first.name) == 2:
                yield from (path.name for path in sorted(first.iterdir()))

    def free_bytes(self) -> int:
        """Return the space that this process may still use, in bytes."""
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def sweep(self, is_known: Callable[[str], bool], older_than_seconds: float) -> int:
        """Delete unfinished files and unknown objects that are older than the given age; return how many."""
        before = time.time() - older_than_seconds
        removed = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):
                if self._path(name).stat().st_mtime < before and not is_known(name):
                    self.delete(name)
                    removed += 1
        return removed


class _Reader:
    def __init__(
        self, descriptor: int, name: str, key: bytes, length: int, on_damage: Callable[[str], None], *, is_at_hand: bool
    ) -> None:
        if os.fstat(descriptor).st_size != stored_length(length):  # cut or grown
            raise Damaged("an object file has not the length that the index keeps.")
        self._flags = os.RWF_NOWAIT if is_at_hand else 0
        self._descriptor = descriptor
        header = bytes(self._stored(0, HEADER_LENGTH))
        self._decryptor = Decryptor(header, key, object_id=bytes.fromhex(name), length=length)
        self._name, self._on_damage = name, on_damage
        self.length = length

    def read(self, offset: int, length: int) -> bytes:
        """Return plaintext[offset:offset+length], clipped to the object. Raises: Damaged."""
        length = min(length, self.length - offset)
        if length <= 0 or offset < 0:
            return b""
        first, last = self._decryptor.span(offset, length)
        start, size = self._decryptor.stored_range(first, last)
        try:
            plain = self._decryptor.open_chunks(first, self._stored(start, size))
        except BlockingIOError:
            raise
        except (Damaged, OSError):
            self._on_damage(self._name)
            raise
        skip = offset - first * CHUNK
        if skip == 0 and len(plain) == length:
            return plain
        if len(plain) - skip < length:
            raise Damaged("an object file ended early.")
        return plain[skip : skip + length]

    def framed(self, before: bytes, offset: int, length: int, after: bytes) -> bytes:
        """Return the range between `before` and `after`: decrypted into one buffer, and copied out of it once."""
        if offset < 0 or length <= 0 or offset + length > self.length:
            raise Damaged("an object file ended early.")
        first, last = self._decryptor.span(offset, length)
        start, size = self._decryptor.stored_range(first, last)
        room = len(before)
        plain = size - (last - first + 1) * (STORED_CHUNK - CHUNK)
        out = bytearray(room + plain + len(after))
        try:
            self._decryptor.open_into(first, self._stored(start, size), memoryview(out)[room : room + plain])
        except BlockingIOError:
            raise
        except (Damaged, OSError):
            self._on_damage(self._name)
            raise
        at = room + offset - first * CHUNK
        out[at - room : at] = before  # over what lies before the range, or the room that was left
        out[at + length : at + length + len(after)] = after
        return bytes(memoryview(out)[at - room : at + length + len(after)])

    def _stored(self, start: int, size: int) -> memoryview:
        """Return bytes of the file as they lie, good until this thread's next call.

        Raises: BlockingIOError, where they are not at hand and must be.
        """
        room = getattr(_sealed, "room", None)
        if room is None or len(room) < size:
            room = bytearray(size)
            if size <= _SEALED_ROOM:
                _sealed.room = room
        data = memoryview(room)[:size]
        try:
            count = os.preadv(self._descriptor, [data], start, self._flags)
        except OSError as e:
            if self._flags and e.errno == errno.EOPNOTSUPP:  # a file system that cannot tell: take the way that waits
                raise BlockingIOError(errno.EAGAIN, "not at hand") from e
            raise
        if self._flags and count < size and start + count < os.fstat(self._descriptor).st_size:
            raise BlockingIOError(errno.EAGAIN, "not at hand")
        return data[:count]

    def stream(self, offset: int = 0, length: int | None = None, *, says_waits: bool = False) -> Iterator[bytes]:
        """Give the range in pieces that end on chunk borders."""
        end = self.length if length is None else min(self.length, offset + length)
        while offset < end:
            stop = min(end, (offset // CHUNK) * CHUNK + _PIECE)
            if says_waits:
                self._flags = os.RWF_NOWAIT
                try:
                    piece = self.read(offset, stop - offset)
                except BlockingIOError:
                    piece = b""
                self._flags = 0
                yield piece
                if piece:
                    offset = stop
                    continue
            yield self.read(offset, stop - offset)
            offset = stop

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
