"""Hostile and broken input: refused with a rule, or read; never a crash, a hang, or memory by what a length claims."""

import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import ct_slice, part10
from pydicom.data import get_testdata_file

from leadglass.dicom.elements import Limits, needs_more, walk
from leadglass.dicom.part10 import NEED_MORE, Head, file_meta, inflate, parse_head
from leadglass.errors import Malformed

LIMITS = Limits(max_depth=32, max_elements=200_000, max_header_bytes=64 << 20)
GOOD = part10(ct_slice(size=16))
PIXELS = GOOD.index(b"\xe0\x7f\x10\x00OW")
SQ = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SQ_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _head(data: bytes) -> Head:
    head = parse_head(data, is_complete=True, limits=LIMITS)
    assert head is not NEED_MORE
    return head


def _with(*elements: bytes) -> bytes:
    """Return the good file with elements put before its pixel data."""
    return GOOD[:PIXELS] + b"".join(elements) + GOOD[PIXELS:]


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OV"}:
        return struct.pack("<HH2sHI", group, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


@pytest.mark.parametrize("data", [
    b"", b"DICM", bytes(132), bytes(128) + b"DICM", b"%PDF-1.4" + bytes(2000), b"\xff" * 5000, b"MZ" + bytes(126) + b"DICM" + b"\xff" * 99,
])
def test_what_is_not_dicom_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_head(data, is_complete=True, limits=LIMITS)


@given(st.integers(0, len(GOOD) - 1))
@settings(max_examples=200, deadline=None)
def test_a_file_cut_anywhere_is_refused_or_its_pixels_are_missing(at: int) -> None:
    assert parse_head(GOOD[:at], is_complete=False, limits=LIMITS) is NEED_MORE or at > PIXELS
    try:
        head = parse_head(GOOD[:at], is_complete=True, limits=LIMITS)
    except Malformed:
        return
    assert head is not NEED_MORE
    # Cut between two elements, nothing says that more should have come; the digest then is that of what came.
    assert head.pixel_end > at or head.pixel_offset == -1


@given(st.binary(min_size=1, max_size=40), st.integers(132, len(GOOD) - 1))
@settings(max_examples=300, deadline=None)
def test_changed_bytes_are_read_or_refused_and_never_crash(noise: bytes, at: int) -> None:
    data = GOOD[:at] + noise + GOOD[at + len(noise) :]
    for end in (at, at + len(noise), len(data)):
        try:
            parse_head(data[:end], is_complete=end == len(data), limits=LIMITS)
        except Malformed as e:
            assert "Phantom" not in str(e)


@pytest.mark.parametrize("uid", [b"", b"../../../etc/passwd", b"1.2.3/../x", b"1" * 65, b"1..2", b"a.b.c", b"1.2.3;rm", b"1.2.\x00.3"])
@pytest.mark.parametrize("tag", [0x00080016, 0x00080018, 0x0020000D, 0x0020000E])
def test_missing_and_hostile_uids_are_refused(tag: int, uid: bytes) -> None:
    out = bytearray(GOOD[:132 + 12 + int.from_bytes(GOOD[140:144], "little")])
    body = GOOD[len(out) :]
    for item in walk(body, explicit=True, little=True, limits=LIMITS):
        value = bytes(body[item.value : item.value + item.length])
        if item.tag == tag:
            out += _element(tag >> 16, tag & 0xFFFF, b"UI", uid + b"\x00" * (len(uid) % 2))
        else:
            out += bytes(body[item.start : item.value]) + value
    with pytest.raises(Malformed) as e:
        parse_head(bytes(out), is_complete=True, limits=LIMITS)
    assert "passwd" not in str(e.value)


@pytest.mark.parametrize("depth", [33, 300, 20_000, 100_000])
def test_deep_nesting_is_refused_quickly(depth: int) -> None:
    data = _with(SQ * 0, *([SQ + ITEM] * depth), *([ITEM_END + SQ_END] * depth))
    started = time.monotonic()
    with pytest.raises(Malformed, match="nested"):
        parse_head(data, is_complete=True, limits=LIMITS)
    assert time.monotonic() - started < 1.0


def test_a_claimed_length_costs_nothing() -> None:
    tracemalloc.start()
    for vr in (b"OB", b"UN", b"UT"):
        data = GOOD[:PIXELS] + struct.pack("<HH2sHI", 0x0042, 0x0011, vr, 0, 3_000_000_000) + bytes(100)
        with pytest.raises(Malformed):
            parse_head(data, is_complete=True, limits=LIMITS)
        assert parse_head(data, is_complete=False, limits=LIMITS) is NEED_MORE
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_million_elements_are_refused_within_the_limit() -> None:
    data = _with(_element(0x0009, 0x1001, b"CS", b"") * 300_000)
    started = time.monotonic()
    with pytest.raises(Malformed, match="data elements"):
        parse_head(data, is_complete=True, limits=LIMITS)
    assert time.monotonic() - started < 3.0


def test_a_deflate_bomb_is_cut_off() -> None:
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(256 << 20)) + packer.flush()
    assert len(bomb) < 300_000
    tracemalloc.start()
    assert len(inflate(bomb, 4 << 20)[0]) <= 4 << 20
    with pytest.raises(Malformed):
        parse_head(file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1.99") + bomb, is_complete=True,
                   limits=Limits(max_header_bytes=4 << 20))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


# --- what a parser may be confused by -----------------------------------------------------------------------------
def _tags(content: bytes) -> list[tuple[int, int]]:
    return [(e.tag, e.depth) for e in walk(content, explicit=True, little=True, limits=LIMITS)]


def test_fragments_inside_an_icon_are_not_read_as_elements() -> None:
    """Pixel data of undefined length in an item: its fragments' bytes look like elements on purpose."""
    inside = _element(0x0010, 0x0010, b"PN", b"Evil^One")
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + _item(b"") + _item(inside) + SQ_END
    icon = struct.pack("<HH2sHI", 0x0088, 0x0200, b"SQ", 0, 0xFFFFFFFF) + ITEM + pixels + ITEM_END + SQ_END
    head = _head(_with(icon))
    assert head.attributes.patient_name == "Test^Phantom"
    assert (0x00100010, 2) not in _tags(icon)
    assert 0x00100010 not in [tag for tag, _ in _tags(icon)]


@pytest.mark.parametrize("content", [
    struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 8 + 10) + struct.pack("<HHI", 0xFFFE, 0xE000, 200) + bytes(10),
    struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 500) + _item(b""),
    _element(0x0008, 0x1140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 10) + _element(0x0008, 0x0060, b"CS", b"TOO-LONG-1")),
])
def test_an_item_beyond_its_sequence_is_refused(content: bytes) -> None:
    with pytest.raises((Malformed, needs_more)):
        _tags(content)


def test_an_offset_table_before_the_pixels_is_no_end_of_the_head() -> None:
    """(7FE0,0001) and (7FE0,0002), and a group length, may stand before the pixel data. Ref: PS3.3 C.7.6.3.1.8."""
    tables = (_element(0x7FE0, 0x0000, b"UL", bytes(4)) + _element(0x7FE0, 0x0001, b"OV", bytes(16))
              + _element(0x7FE0, 0x0002, b"OV", bytes(16)))
    data = _with(tables)
    head = _head(data)
    assert head.pixel_offset == PIXELS + len(tables)
    for at in range(PIXELS, PIXELS + len(tables)):
        assert parse_head(data[:at], is_complete=False, limits=LIMITS) is NEED_MORE


def test_a_sequence_that_ends_with_its_item_open_leaves_nothing_open() -> None:
    content = SQ + ITEM + _element(0x0008, 0x0060, b"CS", b"CT") + SQ_END + _element(0x0010, 0x0010, b"PN", b"A^B ")
    assert _tags(content)[-1] == (0x00100010, 0)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtplan.dcm", "image_dfl.dcm",
                                  "SC_rgb_rle.dcm", "reportsi.dcm", "ExplVR_BigEnd.dcm"])
def test_the_head_says_what_pydicom_says_in_pieces_of_any_size(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    data = path.read_bytes()
    ds = pydicom.dcmread(path, force=True)
    head = _head(data)
    assert head.sop_instance_uid == ds.SOPInstanceUID
    assert head.study_uid == ds.StudyInstanceUID
    assert head.series_uid == ds.SeriesInstanceUID
    assert head.transfer_syntax_uid == ds.file_meta.TransferSyntaxUID
    assert head.attributes.patient_id == str(ds.get("PatientID", ""))
    assert head.attributes.rows == ds.get("Rows")
    assert (head.pixel_offset != -1) == ("PixelData" in ds)
    early = None
    for at in range(0, len(data), 97):
        early = parse_head(data[:at], is_complete=False, limits=LIMITS)
        if early is not NEED_MORE:
            break
    if early is not NEED_MORE:
        assert early == head
