"""The head of a JPEG stream is read within bounds, whatever it claims."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.archive.pixels.jpeg_markers import colours_of, without_application_data

ADOBE = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00"
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


@pytest.mark.parametrize(("head", "said"), [
    (b"", ""), (JFIF, "YBR_FULL"), (ADOBE + b"\x00", "RGB"), (ADOBE + b"\x01", "YBR_FULL"), (JFIF + ADOBE + b"\x00", "RGB"),
    (b"\xff\xff" + JFIF[1:], "YBR_FULL"), (b"\xff\xee\x00\x07Adobe", ""), (b"\xff\xe0\x00\x02" + JFIF, "YBR_FULL"),
])
def test_what_the_stream_says_of_its_colours(head: bytes, said: str) -> None:
    assert colours_of(b"\xff\xd8" + head + b"\xff\xda\x00\x08") == said


def test_marks_of_rgb_are_taken_off_what_is_not() -> None:
    array = np.arange(48, dtype="u1").reshape(4, 4, 3)
    stream = bytes(imagecodecs.jpeg8_encode(array, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB"))
    assert colours_of(stream) == "RGB"
    assert colours_of(without_application_data(stream)) == "RGB"
    plain = without_application_data(stream, is_rgb=False)
    assert colours_of(plain) == ""
    assert b"R\x11" not in plain
    assert np.array_equal(imagecodecs.jpeg8_decode(plain, colorspace="YCBCR", outcolorspace="YCBCR"), array)


@given(st.binary(max_size=200))
def test_any_bytes_end(data: bytes) -> None:
    assert colours_of(b"\xff\xd8" + data) in {"", "RGB", "YBR_FULL"}


@given(st.integers(0, 65535), st.binary(max_size=40))
def test_lengths_that_lie_end(length: int, rest: bytes) -> None:
    assert colours_of(b"\xff\xd8" + (b"\xff\xe1" + length.to_bytes(2, "big")) * 50 + rest) in {"", "RGB", "YBR_FULL"}
