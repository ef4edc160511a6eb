"""A ZIP archive that is written as it is read, sans I/O: nothing of it is kept, in memory or in a file.

Files are stored, not deflated: compressed pixels do not shrink, and deflating native ones (26 ms a megabyte) would
make the export slower than the network. ZIP64 where a file or the archive needs it. Every file has the same date:
an archive says nothing of when. A reader finds lengths and checksums behind each file and in the directory at the end.
"""

from collections.abc import Iterable, Iterator
from typing import IO, Final, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

__all__ = ["zipped"]

_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP can say
_LARGE: Final = 2**31 - 2**20
_MODE: Final = 0o600 << 16


class _Sink:
    """What the archive is written into: takes bytes, and lets them be taken."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take bytes. Without `seek` and `tell` the writer knows that it can only go forward."""
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written has left."""

    def take(self) -> bytes:
        """Return what has been written since the last time."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data


def zipped(files: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Give a ZIP archive of `files`: (name, length in bytes, pieces). An error of the pieces ends it without its end.

    Args: length: what the pieces come to; it decides whether the file needs ZIP64.
    """
    sink = _Sink()
    archive = ZipFile(cast("IO[bytes]", sink), "w", ZIP_STORED, allowZip64=True)
    for name, length, pieces in files:
        info = ZipInfo(name, _DATE)
        info.external_attr, info.create_system, info.file_size = _MODE, 3, length
        with archive.open(info, "w", force_zip64=length >= _LARGE) as target:
            for piece in pieces:
                target.write(piece)
                yield sink.take()
    archive.close()
    yield sink.take()
