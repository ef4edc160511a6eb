"""One object on its way to the disk: encrypted, put in its place, then made durable, alone or with others.

`end` costs no wait for the disk. `settle` returns when the object is durable: file data and directory entry. Between the
two, many objects may go to the disk side by side (`settle_soon`), and those of one directory share its entry's fsync.
Killed in between, what is left is an object that no index names: it is swept, as one is that was never ended.
"""

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leadglass.crypto.stream import Encryptor
from leadglass.errors import Full

__all__ = ["Directories", "ObjectWriter"]

_SYNCING: Final = 2  # threads of a process that wait for the disk; more bring nothing on one device
_MOST_PARTS: Final = 512  # IOV_MAX is 1024


@dataclass
class _Directory:
    lock: threading.Lock = field(default_factory=threading.Lock)
    renamed: int = 0  # objects that were put here
    synced: int = 0  # how many of them are durable


class Directories:
    """Where objects get their names, durably; one process's view. Safe in threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: defaultdict[Path, _Directory] = defaultdict(_Directory)
        self._made: set[Path] = set()
        self._pool: ThreadPoolExecutor | None = None

    def place(self, temporary: Path, path: Path) -> int:
        """Give a file its name; return the ticket with which `settle` makes that durable."""
        if path.parent not in self._made:
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
            _sync_directory(self._root)  # also when another process has just made it: it may not have synced yet
            self._made.add(path.parent)
        try:
            temporary.rename(path)
        except FileNotFoundError:  # the directory was removed since it became known
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(self._root)
            temporary.rename(path)
        with self._lock:
            known = self._known[path.parent]
            known.renamed += 1
            return known.renamed

    def settle(self, directory: Path, ticket: int) -> None:
        """Return when the name that `ticket` stands for is durable; who waits meanwhile is served by the same fsync."""
        known = self._known[directory]
        with known.lock:
            if known.synced >= ticket:
                return
            with self._lock:
                upto = known.renamed
            _sync_directory(directory)
            known.synced = upto

    def soon(self, descriptor: int) -> "Future[None]":
        """Start to make a file's data durable, in another thread."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_SYNCING, thread_name_prefix="durable")
        return self._pool.submit(os.fdatasync, descriptor)


class ObjectWriter:
    """Encrypts into a file of incoming/, and puts it in its place. One thread at a time."""

    def __init__(self, directories: Directories, path: Path, temporary: Path, encryptor: Encryptor) -> None:
        """Args: path: where the object will stand. temporary: where it grows. Raises: Full."""
        self.name = path.name
        self._directories = directories
        self._path, self._temporary = path, temporary
        self._encryptor = encryptor
        self._length = 0
        self._ticket = 0
        self._syncing: Future[None] | None = None
        self._descriptor = -1
        with _full_disk():
            self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._put([encryptor.header()])

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        """Encrypt and write; at most one chunk is held back in memory. Raises: Full."""
        self._length += len(data)
        if sealed := self._encryptor.update(data):
            with _full_disk():
                self._put(sealed)

    def end(self) -> int:
        """Write the last chunk and put the file in its place; return its plaintext length. Not durable yet. Raises: Full."""
        with _full_disk():
            self._put([self._encryptor.finish()])
            self._ticket = self._directories.place(self._temporary, self._path)
        return self._length

    def settle_soon(self) -> None:
        """Let another thread begin to make it durable; after `end`, once."""
        self._syncing = self._directories.soon(self._descriptor)

    def settle(self) -> None:
        """Return when the object is durable; after `end`. Called again, it does nothing. Raises: Full."""
        if self._descriptor < 0:
            return
        with _full_disk():
            if self._syncing is None or self._syncing.cancel():  # not begun: no need to wait for the thread
                os.fdatasync(self._descriptor)
            else:
                self._syncing.result()
            self._directories.settle(self._path.parent, self._ticket)
        self._close()

    def seal(self) -> int:
        """End and settle: durable when it returns; give the plaintext length. Raises: Full."""
        length = self.end()
        self.settle()
        return length

    def discard(self) -> None:
        """Close and remove, wherever the file is; may be called twice."""
        self._close()
        self._temporary.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def _put(self, parts: Sequence[bytes]) -> None:
        for at in range(0, len(parts), _MOST_PARTS):
            some = parts[at : at + _MOST_PARTS]
            written = os.writev(self._descriptor, some)
            if written < sum(map(len, some)):
                view = memoryview(b"".join(some))[written:]
                while view:
                    view = view[os.write(self._descriptor, view) :]

    def _close(self) -> None:
        if self._descriptor < 0:
            return
        if self._syncing is not None and not self._syncing.cancel():
            self._syncing.exception()  # it must not see another file under this number
        os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        # An association that breaks off lets go of ended objects that nothing names: their descriptors go with them.
        if getattr(self, "_descriptor", -1) >= 0:
            self._close()


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    """Say a full disk in the house's words."""
    try:
        yield
    except OSError as e:
        if e.errno in {28, 122}:  # ENOSPC, EDQUOT
            raise Full("the disk is full; nothing more is stored until there is room.", retry_after_seconds=60) from e
        raise


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
