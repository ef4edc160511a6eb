"""The multipart parser: any cut of a good body gives the same parts; any change of a body is read or refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.errors import Malformed
from leadglass.web.dicomweb.multipart import BodyData, MultipartParser, PartBegin, PartEnd

PARTS = [b"", b"\r\n", b"--x", b"\r\n--", b"a" * 3000, b"\r\n--x-not-the-boundary\r\n" * 20, bytes(range(256))]
BODY = b"".join(b"--x-b\r\nContent-Type: application/dicom\r\n\r\n" + p + b"\r\n" for p in PARTS) + b"--x-b--\r\n"


def _parse(body: bytes, cuts: list[int]) -> list[bytes]:
    parser = MultipartParser("x-b")
    found: list[bytearray] = []
    whole = 0
    at = 0
    for cut in [*sorted(c % (len(body) + 1) for c in cuts), len(body)]:
        for event in parser.feed(body[at:cut]):
            match event:
                case PartBegin():
                    found.append(bytearray())
                case BodyData(piece):
                    found[-1] += piece
                case PartEnd():
                    whole += 1
        at = max(at, cut)
    parser.end()
    assert whole == len(found)
    return [bytes(f) for f in found]


@given(st.lists(st.integers(0, len(BODY)), max_size=40))
@settings(deadline=None)
def test_pieces_of_any_size_give_the_same_parts(cuts: list[int]) -> None:
    assert _parse(BODY, cuts) == PARTS


@given(st.integers(0, len(BODY) - 1), st.binary(max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_changed_body_is_read_or_refused(at: int, noise: bytes) -> None:
    try:
        _parse(BODY[:at] + noise + BODY[at + len(noise) :], [at, at + 1])
    except Malformed:
        return


@given(st.integers(0, len(BODY) - 5))
def test_a_body_without_its_end_is_refused(at: int) -> None:
    try:
        _parse(BODY[:at], [])
    except Malformed:
        return
    raise AssertionError("a cut body passed for a whole one")


def test_the_boundary_that_orthanc_sends_is_taken_and_a_longer_one_refused() -> None:
    MultipartParser("4254d5f0-d973-427b-afc4-1066f42eabe7-4254d5f0-d973-427b-afc4-1066f42eabe7")  # 73 characters
    with pytest.raises(Malformed, match="boundary"):
        MultipartParser("b" * 129)
