"""The scratch file: no name, no plaintext, no bytes from outside of what was written; a full disk is said."""

import os

import pytest

from leadglass.crypto.stream import CHUNK
from leadglass.errors import Damaged, Full
from leadglass.storage.scratch import Scratch

SECRET = b"PATIENT^SECRET" * 20_000


def scratch(tmp_path, free=1 << 40):
    return Scratch(tmp_path, free_bytes=lambda: free, reserve_bytes=1 << 20)


def test_what_was_written_is_read_in_any_order(tmp_path):
    with scratch(tmp_path) as one:
        for at in range(0, len(SECRET), 1000):
            one.write(SECRET[at : at + 1000])
        one.finish()
        for offset, length in ((0, len(SECRET)), (CHUNK - 1, 2), (len(SECRET) - 1, 1), (5, 0), (CHUNK, CHUNK), (7, 200_000)):
            assert b"".join(one.read(offset, length)) == SECRET[offset : offset + length]
        for offset, length in ((-1, 1), (0, len(SECRET) + 1), (len(SECRET), 1)):
            with pytest.raises(ValueError, match="outside"):
                list(one.read(offset, length))


def test_the_file_has_no_name_and_no_plaintext(tmp_path):
    with scratch(tmp_path) as one:
        one.write(SECRET)
        one.finish()
        assert list(tmp_path.iterdir()) == []
        size = os.fstat(one._descriptor).st_size
        assert b"PATIENT" not in os.pread(one._descriptor, size, 0)
    one.close()


def test_a_flipped_byte_is_noticed(tmp_path):
    with scratch(tmp_path) as one:
        one.write(SECRET)
        one.finish()
        os.pwrite(one._descriptor, b"X", 5000)
        with pytest.raises(Damaged):
            list(one.read(0, 10))


def test_a_nearly_full_disk_takes_nothing(tmp_path):
    with pytest.raises(Full):
        scratch(tmp_path, free=1000)
    free = [1 << 40]
    with Scratch(tmp_path, free_bytes=lambda: free[0], reserve_bytes=1 << 20) as one:
        one.write(b"x" * 1000)
        free[0] = 1000
        with pytest.raises(Full):
            for _ in range(70):
                one.write(bytes(1 << 20))
