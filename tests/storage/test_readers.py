"""Readers of objects: every way to a range gives the same bytes, and one that may not wait for a disk says so."""

import os
from pathlib import Path

import pytest

from leadglass.errors import Damaged
from leadglass.storage.blobs import PosixBlobs

KEY = b"k" * 32
CHUNK = 65536
DATA = os.urandom(CHUNK * 40 + 777)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[PosixBlobs, str, Path]:
    blobs = PosixBlobs(tmp_path / "objects")
    writer = blobs.create(KEY, b"i" * 16)
    writer.write(DATA)
    writer.seal()
    return blobs, writer.name, tmp_path / "objects" / writer.name[:2] / writer.name


@pytest.mark.parametrize(("offset", "length"), [
    (0, 1), (0, CHUNK), (5, CHUNK), (CHUNK - 1, 2), (CHUNK * 3 + 9, CHUNK * 20), (len(DATA) - 1, 1), (0, len(DATA)),
])
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"<" * 200, b">" * 70), (b"<" * 70_000, b"")])
def test_a_framed_range_is_the_range_between_its_frame(stored, offset, length, before, after):
    blobs, name, _ = stored
    with blobs.open(name, KEY, len(DATA)) as reader:
        found = reader.framed(before, offset, length, after)
        assert type(found) is bytes
        assert found == before + DATA[offset : offset + length] + after
        assert reader.read(offset, length) == DATA[offset : offset + length]
        assert b"".join(reader.stream(offset, length)) == DATA[offset : offset + length]
        assert b"".join(reader.stream(offset, length, says_waits=True)) == DATA[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(0, len(DATA) + 1), (-1, 5), (len(DATA), 1), (3, 0)])
def test_a_framed_range_outside_the_object_is_refused(stored, offset, length):
    blobs, name, _ = stored
    with blobs.open(name, KEY, len(DATA)) as reader, pytest.raises(Damaged):
        reader.framed(b"", offset, length, b"")


def test_a_flipped_byte_is_noticed_on_every_way(stored):
    blobs, name, path = stored
    told: list[str] = []
    data = bytearray(path.read_bytes())
    data[CHUNK * 2] ^= 1
    path.write_bytes(data)
    blobs = PosixBlobs(path.parents[1], told.append)
    with blobs.open(name, KEY, len(DATA)) as reader:
        for way in (lambda: reader.framed(b"", 0, len(DATA), b""), lambda: reader.read(0, len(DATA)),
                    lambda: list(reader.stream(says_waits=True))):
            with pytest.raises(Damaged):
                way()
    assert told == [name] * 3


def test_what_is_not_in_memory_is_said_and_no_damage(stored):
    """The page cache is emptied of the file; a file system that cannot tell what it holds says the same."""
    blobs, name, path = stored
    told: list[str] = []
    blobs = PosixBlobs(path.parents[1], told.append)

    def forget() -> None:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    forget()
    with pytest.raises(BlockingIOError):
        blobs.open(name, KEY, len(DATA), is_at_hand=True)
    with blobs.open(name, KEY, len(DATA)) as reader:
        forget()
        pieces = list(reader.stream(says_waits=True))
    assert b"" in pieces
    assert b"".join(pieces) == DATA
    assert told == []
