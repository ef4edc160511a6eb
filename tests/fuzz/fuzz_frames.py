"""Fragments of encapsulated pixel data: where each frame lies.

Promises: only Malformed and Damaged come out; every span lies inside the file; headers are read, never values.
Ref: PS3.5 A.4.
"""

import struct
from collections.abc import Iterator

from wire import SEQUENCE_END, item

from leadglass.dicom.encapsulated import frame_fragments, native_frame
from leadglass.errors import Damaged, Malformed


def one_input(data: bytes) -> None:
    """Bytes 0-3 are the number of frames and a frame; the rest is the value of the pixel data."""
    if len(data) < 4:
        return
    frames, number = struct.unpack_from("<HH", data)
    body = data[4:]
    read_bytes = 0

    def read(at: int, length: int) -> bytes:
        nonlocal read_bytes
        assert 0 <= at <= at + length <= len(body)
        read_bytes += length
        return body[at : at + length]

    try:
        found = frame_fragments(read, 0, len(body), frames)
        assert len(found) == frames
        assert all(found), "a frame of nothing"
        for spans in found:
            for at, length in spans:
                assert 8 <= at <= at + length <= len(body)
    except (Malformed, Damaged):
        pass
    assert read_bytes <= 4096 * (len(body) // 8 + 2) + 65536
    try:
        at, length = native_frame(0, len(body), frames, number)
        assert 0 <= at < at + length <= len(body) or not body
    except Malformed:
        pass


def seeds() -> Iterator[bytes]:
    """Give values that are right: with and without an offset table, with one and several fragments a frame."""
    two = item(b"\xff\xd8" * 8) + item(b"\xff\xd9" * 4)
    yield struct.pack("<HH", 1, 1) + item(b"") + two + SEQUENCE_END
    yield struct.pack("<HH", 2, 2) + item(b"") + two + SEQUENCE_END
    yield struct.pack("<HH", 2, 1) + item(struct.pack("<II", 0, 40)) + two + two[:24] + SEQUENCE_END
    yield struct.pack("<HH", 3, 3) + bytes(300)
