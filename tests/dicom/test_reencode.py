"""A data set re-encoded says the same to a foreign reader; what is hostile is refused, within bounds."""

import io
import struct

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from leadglass.dicom.elements import Limits
from leadglass.dicom.reencode import Encoding, reencode, swapped
from leadglass.errors import Malformed

EXPLICIT, IMPLICIT, BIG = Encoding(True, True), Encoding(False, True), Encoding(True, False)
UIDS = {EXPLICIT: ExplicitVRLittleEndian, IMPLICIT: ImplicitVRLittleEndian, BIG: ExplicitVRBigEndian}


def rich() -> Dataset:
    """Return a data set with each kind of value, nested, private and long."""
    ds = Dataset()
    ds.SpecificCharacterSet, ds.PatientName, ds.PatientID = "ISO_IR 100", "Müller^Jörg", "A"
    ds.Rows, ds.PixelRepresentation = 513, 1
    ds.add_new(0x00280106, "SS", -1024)
    ds.add_new(0x00186020, "SL", -70000)
    ds.ReconstructionDiameter, ds.SliceLocation = "350.5", "-12.25"
    ds.add_new(0x00189073, "FD", 1.5e-9)
    ds.add_new(0x00186060, "FL", 2.5)
    ds.FrameIncrementPointer = 0x00181063
    ds.add_new(0x00081190, "UR", "https://example.org/retrieve")
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "T-1", "Größe"
    inner.ReferencedFrameNumber = [1, 2]
    deep = Dataset()
    deep.ConceptNameCodeSequence = Sequence([inner])
    ds.ContentSequence = Sequence([deep, Dataset()])
    ds.ReferencedStudySequence = Sequence([])
    ds.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    ds.RedPaletteColorLookupTableData = bytes(range(256)) * 2
    block = ds.private_block(0x0029, "LEADGLASS TEST", create=True)
    block.add_new(0x01, "US", 7)
    block.add_new(0x02, "OB", b"\x01\x02\x03\x04")
    return ds


def written(ds: Dataset, encoding: Encoding) -> bytes:
    out = io.BytesIO()
    ds.save_as(out, implicit_vr=not encoding.explicit, little_endian=encoding.little)
    return out.getvalue()


def read(data: bytes, encoding: Encoding) -> Dataset:
    file = io.BytesIO(data)
    return pydicom.filereader.read_dataset(file, not encoding.explicit, encoding.little)


@pytest.mark.parametrize("source", list(UIDS))
@pytest.mark.parametrize("target", list(UIDS))
def test_every_element_says_the_same(source: Encoding, target: Encoding) -> None:
    ds = rich()
    again = read(reencode(written(ds, source), source=source, target=target, limits=Limits()), target)
    for element in ds:
        if element.tag.is_private and element.tag.element > 0xFF and not (source.explicit and target.explicit):
            assert bytes(again[element.tag].value) == (b"\x07\x00" if element.VR == "US" else element.value)
            continue
        value = again[element.tag].value
        if element.VR == "OW" and source.little != target.little:  # pydicom leaves words as they lie
            value = swapped(value, 2)
        assert value == element.value, element.tag
        assert again[element.tag].VR == element.VR


def test_group_lengths_and_padding_are_dropped_and_odd_values_padded() -> None:
    data = struct.pack("<HHII", 0x0008, 0, 4, 99) + struct.pack("<HHI", 0x0010, 0x0010, 3) + b"A^B"
    data += struct.pack("<HHI", 0xFFFC, 0xFFFC, 4) + bytes(4)
    out = reencode(data, source=IMPLICIT, target=EXPLICIT, limits=Limits())
    assert out == b"\x10\x00\x10\x00PN\x04\x00A^B "


def test_unknown_and_private_values_are_kept_byte_for_byte() -> None:
    secret = bytes(range(1, 33))
    data = struct.pack("<HHI", 0x0011, 0x1001, 32) + secret
    out = reencode(data, source=IMPLICIT, target=EXPLICIT, limits=Limits())
    assert out == struct.pack("<HH2sHI", 0x0011, 0x1001, b"UN", 0, 32) + secret
    assert reencode(out, source=EXPLICIT, target=IMPLICIT, limits=Limits()) == data
    assert secret in reencode(out, source=EXPLICIT, target=BIG, limits=Limits())


def test_a_private_sequence_stays_implicit_inside_un() -> None:
    inner = struct.pack("<HHI", 0x0011, 0x1002, 4) + b"abcd"
    data = (struct.pack("<HHI", 0x0011, 0x1001, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    out = reencode(data, source=IMPLICIT, target=EXPLICIT, limits=Limits())
    assert out[:8] == struct.pack("<HH2sH", 0x0011, 0x1001, b"UN", 0)
    assert inner in out
    assert read(out, EXPLICIT)[0x00111001].value[0][0x00111002].value == b"abcd"


def test_a_table_too_long_for_a_short_length_becomes_ow() -> None:
    data = struct.pack("<HHI", 0x0028, 0x3006, 70000) + bytes(70000)
    assert reencode(data, source=IMPLICIT, target=EXPLICIT, limits=Limits())[4:6] == b"OW"
    text = struct.pack("<HHI", 0x0010, 0x4000, 70000) + b" " * 70000
    assert reencode(text, source=IMPLICIT, target=EXPLICIT, limits=Limits())[4:6] == b"UN"


def test_changes_replace_insert_and_remove() -> None:
    ds = Dataset()
    ds.PatientID, ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows = "A", 3, "YBR_FULL_422", 2
    ds.SmallestImagePixelValue = 0
    out = reencode(written(ds, EXPLICIT), source=EXPLICIT, target=EXPLICIT, limits=Limits(), changes={
        0x00280004: ("CS", b"RGB"), 0x00280006: ("US", b"\x01\x00"), 0x00280106: None, 0x7FE00001: None, 0x00281050: ("DS", b"1"),
    })
    again = read(out, EXPLICIT)
    assert [e.keyword for e in again] == ["PatientID", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
                                          "Rows", "WindowCenter"]
    assert (again.PhotometricInterpretation, again.PlanarConfiguration) == ("RGB", 1)


@pytest.mark.parametrize("data", [
    b"".join(struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) for _ in range(40)),
    struct.pack("<HHI", 0x0010, 0x0010, 0xFFFFFFF0),
    struct.pack("<HHI", 0x0010, 0x0010, 0) * 2000,
    struct.pack("<HHI", 0xFFFE, 0xE000, 0),
])
def test_hostile_structures_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        reencode(data, source=IMPLICIT, target=EXPLICIT, limits=Limits(max_depth=32, max_elements=1000))


@given(st.binary(max_size=400), st.sampled_from(list(UIDS)), st.sampled_from(list(UIDS)))
def test_any_bytes_give_a_data_set_or_malformed(data: bytes, source: Encoding, target: Encoding) -> None:
    try:
        out = reencode(data, source=source, target=target, limits=Limits())
    except Malformed:
        return
    assert len(out) <= 40 * len(data) + 40


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.sampled_from(list(UIDS)))
def test_mutated_data_sets_are_bounded(flips: list[tuple[int, int]], target: Encoding) -> None:
    data = bytearray(written(rich(), EXPLICIT))
    for at, value in flips:
        data[at % len(data)] = value
    try:
        reencode(bytes(data), source=EXPLICIT, target=target, limits=Limits())
    except Malformed:
        return


@given(st.binary(max_size=64), st.sampled_from([1, 2, 4, 8]))
def test_turning_bytes_twice_gives_them_back(data: bytes, size: int) -> None:
    assert swapped(swapped(data, size), size) == data
