"""Objects that go to the disk together: durable when settled, one fsync for names that stand side by side."""

import contextlib
import errno
import gc
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from leadglass.errors import Full
from leadglass.storage.blobs import PosixBlobs

KEY = bytes(range(32))
KEY_ID = b"i" * 16


class Disk:
    """Counts what the kernel is asked to make durable; `fault` is raised by each fdatasync."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[int] = []  # inodes
        self.directories: list[int] = []
        self.fault = 0
        data, whole = os.fdatasync, os.fsync

        def fdatasync(descriptor: int) -> None:
            if self.fault:
                raise OSError(self.fault, os.strerror(self.fault))
            data(descriptor)
            self.files.append(os.fstat(descriptor).st_ino)

        def fsync(descriptor: int) -> None:
            whole(descriptor)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self.directories.append(os.fstat(descriptor).st_ino)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def _ended(blobs: PosixBlobs, count: int) -> list[Any]:
    writers = []
    for number in range(count):
        writer = blobs.create(KEY, KEY_ID)
        writer.write(b"%d" % number * 1000)
        writer.end()
        writers.append(writer)
    return writers


def _descriptors(root: Path) -> int:
    """Return how many files below `root` this process has open; threads of other tests open and close others."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += entry.readlink().is_relative_to(root)
    return found


def _inode(root: Path, name: str) -> int:
    return (root / name[:2] / name).stat().st_ino


@pytest.mark.parametrize("is_soon", [False, True])
def test_settled_means_the_file_and_its_name_are_durable(tmp_path: Path, disk: Disk, *, is_soon: bool) -> None:
    blobs = PosixBlobs(tmp_path)
    (writer,) = _ended(blobs, 1)
    assert _inode(tmp_path, writer.name) not in disk.files
    if is_soon:
        writer.settle_soon()
    writer.settle()
    assert _inode(tmp_path, writer.name) in disk.files
    assert (tmp_path / writer.name[:2]).stat().st_ino in disk.directories
    assert tmp_path.stat().st_ino in disk.directories  # the directory is new: its own entry too
    writer.settle()
    assert disk.files.count(_inode(tmp_path, writer.name)) == 1


def test_twenty_objects_that_come_together_share_the_fsync_of_their_names(tmp_path: Path, disk: Disk) -> None:
    blobs = PosixBlobs(tmp_path)
    writers = _ended(blobs, 20)
    for writer in writers:
        writer.settle_soon()
    for writer in writers:
        writer.settle()
    assert {_inode(tmp_path, w.name) for w in writers} <= set(disk.files)
    named = [inode for inode in disk.directories if inode != tmp_path.stat().st_ino]
    assert len({w.name[:2] for w in writers}) == len(named) == 1


def test_a_name_given_after_an_fsync_needs_another(tmp_path: Path, disk: Disk) -> None:
    blobs = PosixBlobs(tmp_path)
    for writer in (_ended(blobs, 1) + _ended(blobs, 1)):
        before = len(disk.directories)
        writer.settle()
        late = _ended(blobs, 1)[0]
        late.settle()
        assert len(disk.directories) > before


def test_threads_that_settle_at_once_are_all_durable(tmp_path: Path, disk: Disk) -> None:
    blobs = PosixBlobs(tmp_path)
    barrier = threading.Barrier(8)
    names: list[str] = []

    def work() -> None:
        for _ in range(5):
            (writer,) = _ended(blobs, 1)
            barrier.wait()
            writer.settle()
            assert _inode(tmp_path, writer.name) in disk.files
            names.append(writer.name)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == list(blobs.names())
    assert len(names) == 40


@pytest.mark.parametrize("is_soon", [False, True])
def test_a_disk_that_is_full_only_when_asked_to_keep_says_so(tmp_path: Path, disk: Disk, *, is_soon: bool) -> None:
    (writer,) = _ended(PosixBlobs(tmp_path), 1)
    disk.fault = errno.ENOSPC
    if is_soon:
        writer.settle_soon()
    with pytest.raises(Full):
        writer.settle()
    writer.discard()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_was_ended_is_discarded_whole(tmp_path: Path, disk: Disk) -> None:
    blobs = PosixBlobs(tmp_path)
    first, second = _ended(blobs, 2)
    first.settle_soon()
    first.discard()
    second.settle()
    second.discard()
    assert list(blobs.names()) == []


def test_objects_that_are_let_go_of_keep_no_descriptor(tmp_path: Path) -> None:
    blobs = PosixBlobs(tmp_path)
    before = _descriptors(tmp_path)
    writers = _ended(blobs, 10)
    assert _descriptors(tmp_path) == before + 10
    del writers
    gc.collect()
    assert _descriptors(tmp_path) == before
    assert len(list(blobs.names())) == 10  # swept later, as all that no index names


def test_names_of_many_objects_are_spread_over_directories(tmp_path: Path) -> None:
    blobs = PosixBlobs(tmp_path)
    names = []
    for _ in range(2000):
        writer = blobs.create(KEY, KEY_ID)
        names.append(writer.name)
        writer.discard()
    assert len(set(names)) == 2000
    assert len({name[:2] for name in names}) >= 4
