"""A ZIP that is written as it is read: other programs open it, ZIP64 where needed, and it holds nothing back."""

import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.web.dicomweb.zip_stream import zipped


@given(st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=5))
def test_what_goes_in_comes_out(files: list[list[bytes]]) -> None:
    data = b"".join(zipped((f"F{n}", sum(map(len, pieces)), pieces) for n, pieces in enumerate(files)))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [archive.read(info) for info in archive.infolist()] == [b"".join(pieces) for pieces in files]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert {info.date_time for info in archive.infolist()} <= {(1980, 1, 1, 0, 0, 0)}


def test_a_piece_leaves_before_the_next_is_read() -> None:
    seen: list[int] = []

    def pieces() -> Iterator[bytes]:
        for n in range(5):
            seen.append(n)
            yield bytes(1000)

    archive = zipped([("F", 5000, pieces())])
    next(archive)
    assert seen == [0]
    next(archive)
    assert seen == [0, 1]
    archive.close()
    assert seen == [0, 1]


def test_many_files_and_large_ones_need_zip64(tmp_path: Path) -> None:
    data = b"".join(zipped((f"D/{n:06d}", 1, (b"x",)) for n in range(66_000)))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert len(archive.infolist()) == 66_000
    data = b"".join(zipped([("LARGE", 5 * 2**30, (b"small after all",)), ("NEXT", 4, (b"next",))]))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.read("LARGE") == b"small after all"
        assert archive.read("NEXT") == b"next"
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    result = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_error_leaves_an_archive_that_nobody_takes_for_whole() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        raise OSError

    found = bytearray()
    with pytest.raises(OSError):
        for piece in zipped([("A", 4, (b"good",)), ("F", 10, pieces())]):
            found += piece
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(BytesIO(bytes(found)))
