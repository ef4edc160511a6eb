"""The head of an instance: real files, cut files, mutated files, hostile files; time and memory bounded."""

import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from wire import EXPLICIT, SEQUENCE_END, UNDEFINED, el, identity, item, meta, open_item, sequence

from leadglass.dicom.elements import Limits, walk
from leadglass.dicom.part10 import Head, file_meta, parse_head
from leadglass.errors import Malformed

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
ROWS = el(0x00280010, "US", b"\x04\x00") + el(0x00280011, "US", b"\x04\x00") + el(0x00280100, "US", b"\x08\x00")
PIXELS = el(0x7FE00010, "OB", bytes(16))


def whole(data: bytes) -> Head:
    head = parse_head(data, is_complete=True, limits=Limits())
    assert head is not None
    return head


def real(name: str) -> bytes:
    path = get_testdata_file(name)
    assert path
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", [
    "CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "image_dfl.dcm", "reportsi.dcm", "rtplan.dcm",
    "SC_rgb_rle_2frame.dcm", "liver_1frame.dcm", "ExplVR_LitEndNoMeta.dcm",
])
def test_real_files_give_what_pydicom_reads(name):
    head, ds = whole(real(name)), dcmread(get_testdata_file(name), force=True)
    assert head.transfer_syntax_uid == ds.file_meta.get("TransferSyntaxUID", EXPLICIT)
    assert (head.sop_class_uid, head.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID)
    assert (head.study_uid, head.series_uid) == (ds.StudyInstanceUID, ds.SeriesInstanceUID)
    a = head.attributes
    assert a.patient_id == ds.get("PatientID", "")
    assert a.patient_name == str(ds.get("PatientName", ""))
    assert a.modality == ds.Modality
    assert (a.rows, a.columns, a.bits_allocated) == (ds.get("Rows"), ds.get("Columns"), ds.get("BitsAllocated"))
    assert a.frames == (int(ds.get("NumberOfFrames", 1) or 1) if "PixelData" in ds else 0)
    assert (head.pixel_offset != -1) == ("PixelData" in ds)


@pytest.mark.parametrize("name", ["MR_small.dcm", "JPEG2000.dcm", "reportsi.dcm"])
def test_the_head_is_the_same_however_much_has_arrived(name):
    data = real(name)
    expected = whole(data)
    seen = 0
    for size in [*range(1000, len(data), 777), len(data) - 1]:
        head = parse_head(data[:size], is_complete=False, limits=Limits())
        if head is not None:
            assert head == expected
            seen += 1
    assert seen or expected.pixel_offset == -1


def test_elements_between_the_header_and_the_pixels_do_not_end_it_too_early():
    offsets = el(0x7FE00001, "OV", bytes(8)) + el(0x7FE00002, "OV", bytes(8))
    head = meta("1.2.840.10008.1.2.4.50") + identity() + ROWS + offsets
    data = head + el(0x7FE00010, "OB", item(b"") + item(b"\xff\xd8\xff\xd9") + SEQUENCE_END, UNDEFINED)
    for cut in range(140, len(head) + 12):
        assert parse_head(data[:cut], is_complete=False, limits=Limits()) is None, cut
    found = parse_head(data[: len(head) + 12], is_complete=False, limits=Limits())
    assert found is not None
    assert found.pixel_offset == len(head) == whole(data).pixel_offset


def test_a_buffer_that_ends_between_two_elements_is_not_taken_for_the_whole():
    data = meta() + identity() + ROWS
    assert parse_head(data, is_complete=False, limits=Limits()) is None
    assert whole(data + PIXELS).pixel_offset == len(data)


def test_identity_inside_a_sequence_is_not_the_instances():
    nested = sequence(0x00081140, open_item(el(0x0020000D, "UI", b"9.9.9") + el(0x00080018, "UI", b"9.9")))
    head = whole(meta() + identity() + nested + ROWS + PIXELS)
    assert (head.study_uid, head.sop_instance_uid) == ("1.2.3", "1.2.3.4")


def test_identity_given_twice_is_refused():
    # Two readers of one file must not see two studies: a grant is for one of them.
    with pytest.raises(Malformed, match="twice"):
        whole(meta() + identity() + el(0x0020000D, "UI", b"1.2.9") + ROWS + PIXELS)


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 40_000), name=st.sampled_from(["CT_small.dcm", "JPEG2000.dcm", "reportsi.dcm"]))
def test_a_file_cut_anywhere_asks_for_more_or_is_refused(cut, name):
    data = real(name)
    cut = min(cut, len(data) - 1)
    expected = whole(data)
    early = parse_head(data[:cut], is_complete=False, limits=Limits())
    assert early is None or early == expected
    try:
        late = whole(data[:cut])
    except Malformed:
        return
    assert late.sop_instance_uid == expected.sop_instance_uid


@settings(max_examples=250, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=8),
)
def test_mutated_files_in_random_pieces_give_a_head_or_malformed(edits, sizes):
    data = bytearray(real("MR_small.dcm"))
    for at, value in edits:
        data[at] = value
    arrived = 0
    for size in [*sizes, len(data)]:
        arrived = min(len(data), arrived + size)
        try:
            parse_head(data[:arrived], is_complete=arrived == len(data), limits=Limits())
        except Malformed:
            return


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), dicm=st.booleans(), complete=st.booleans())
def test_noise_gives_a_head_or_malformed(data, dicm, complete):
    try:
        parse_head((bytes(128) + b"DICM" if dicm else b"") + data, is_complete=complete, limits=Limits())
    except Malformed as e:
        assert str(e)


@pytest.mark.parametrize("data", [
    b"", b"DICM", bytes(132), bytes(127), b"%PDF-1.7" + bytes(300), b"\x89PNG\r\n\x1a\n" + bytes(300), b"PK\x03\x04" + bytes(300),
    bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(7), meta(), bytes(128) + b"DICM" + el(0x00020012, "UI", b"1.2"),
])
def test_what_is_no_instance_is_refused(data):
    with pytest.raises(Malformed):
        whole(data)


@pytest.mark.parametrize("uid", [
    b"", b"../../etc/passwd", b"1.2/3", b"1.2\\3", b"1.2.3' OR 1=1", b"1" * 65, b"1..2", b".1", b"1.", b"a.b",
    "1.2.\u0663".encode(), b"1.2\x003", b"1.2 .3", b"<b>1</b>", b"1.2\n",
])
@pytest.mark.parametrize("which", ["instance", "study", "series"])
def test_uids_that_are_none_are_refused(uid, which):
    if uid == b"1.2\n":
        uid = b"1.2\n3"  # white space at the end is padding, inside it is not
    with pytest.raises(Malformed):
        whole(meta() + identity(**{which: uid}) + ROWS + PIXELS)


def test_a_uid_of_64_characters_is_taken():
    assert whole(meta() + identity(instance=b"1." + b"2" * 62) + PIXELS).sop_instance_uid == "1." + "2" * 62


def measured(data, **how):
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(Malformed) as caught:
            parse_head(data, is_complete=True, limits=Limits(), **how)
        return str(caught.value), time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_claimed_length_of_3_gigabytes_costs_nothing():
    rule, seconds, peak = measured(meta() + identity() + el(0x00420011, "OB", b"short", 3 * 2**30))
    assert "longer" in rule
    assert seconds < 0.5
    assert peak < 2**20


@pytest.mark.parametrize("levels", [400, 20_000, 100_000])
def test_deep_nesting_is_refused_at_once(levels):
    rule, seconds, peak = measured(meta() + identity() + el(0x00081140, "SQ", item(b"", UNDEFINED), UNDEFINED) * levels)
    assert "deeper" in rule
    assert seconds < 1.0
    assert peak < 4 * 2**20


@pytest.mark.parametrize("levels", [400, 20_000, 100_000])
def test_deep_nesting_by_lengths_is_refused_at_once(levels):
    body = b"".join(el(0x00081140, "SQ", b"", n * 20 - 12) + item(b"", n * 20 - 20) for n in range(levels, 0, -1))
    started = time.perf_counter()
    with pytest.raises(Malformed, match="deeper"):
        list(walk(body, explicit=True, little=True, limits=Limits()))
    assert time.perf_counter() - started < 1.0
    assert whole(meta() + identity() + body).pixel_offset == -1  # the head does not enter what has a length


def test_a_deflate_bomb_is_inflated_to_the_limit_only():
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = machine.compress(identity() + el(0x00420011, "OB", b"", 2**31))
    body += b"".join(machine.compress(bytes(2**20)) for _ in range(400)) + machine.flush()
    started = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(Malformed):
        parse_head(meta(DEFLATED) + body, is_complete=True, limits=Limits(max_header_bytes=4 * 2**20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
    assert time.perf_counter() - started < 5


def test_a_header_beyond_its_limit_is_refused_while_it_arrives():
    data = meta() + identity() + el(0x00420011, "OB", b"", 2**30) + bytes(70_000)
    with pytest.raises(Malformed, match="larger"):
        parse_head(data, is_complete=False, limits=Limits(max_header_bytes=65536))


def test_too_many_elements_are_refused_in_time():
    data = meta() + identity() + el(0x00090010, "LO", b"") * 300_000
    started = time.perf_counter()
    with pytest.raises(Malformed, match="data elements"):
        whole(data)
    assert time.perf_counter() - started < 3


def test_control_characters_do_not_reach_the_index():
    data = meta() + identity() + el(0x00100010, "PN", b"Evil^\x1b[2J\r\nName\x07") + PIXELS
    assert whole(data).attributes.patient_name.isprintable()


def test_group_2_is_ours_and_pydicom_reads_it(tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", BIG_ENDIAN[:-2], source_ae="CT1"))
    ds = dcmread(path)
    assert ds.preamble == bytes(128)
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert ds.file_meta.SourceApplicationEntityTitle == "CT1"
    assert ds.file_meta.FileMetaInformationGroupLength == path.stat().st_size - 144


def test_a_group_2_without_length_claim_ends_where_group_2_ends():
    body = el(0x00020010, "UI", b"1.2.840.10008.1.2.1")
    assert whole(bytes(128) + b"DICM" + body + identity() + PIXELS).dataset_offset == 132 + len(body)
