"""Two encodings of one data set are the same; one changed value is told by its tag; bytes of any kind do no harm."""

import copy
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantom import ct_slice
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from leadglass.dicom.comparison import differing_tags, is_demographic, leaves, name_of, text_of
from leadglass.dicom.elements import Limits
from leadglass.errors import Malformed


def encoded(ds: Dataset, *, explicit: bool = True, little: bool = True) -> bytes:
    out = io.BytesIO()
    stream = DicomFileLike(out)
    stream.is_implicit_VR, stream.is_little_endian = not explicit, little
    copied = copy.deepcopy(ds)
    del copied.PixelData
    write_dataset(stream, copied)
    return out.getvalue()


def read(ds: Dataset, **how: bool) -> dict:
    explicit, little = how.get("explicit", True), how.get("little", True)
    return leaves(encoded(ds, **how), offset=0, explicit=explicit, little=little, limits=Limits())


def _rich() -> Dataset:
    ds = ct_slice(OtherPatientIDs=["A", "B"], PatientWeight="70.5", LargestImagePixelValue=4095, SmallestImagePixelValue=-5)
    inner = Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "T-1", "SRT", "Thing"
    outer = Dataset()
    outer.PurposeOfReferenceCodeSequence = [inner]
    ds.ReferencedImageSequence = [outer, Dataset()]
    ds.ProcedureCodeSequence = []
    ds.add_new(Tag(0x00090010), "LO", "LEADGLASS TEST")
    ds.add_new(Tag(0x00091001), "DS", "1.5")
    ds.add_new(Tag(0x00091002), "SS", -7)
    return ds


RICH = _rich()  # its UIDs are random: one for all


def rich() -> Dataset:
    return copy.deepcopy(RICH)


@pytest.mark.parametrize("how", [{"explicit": False}, {"explicit": True}])
def test_explicitness_makes_no_difference(how: dict) -> None:
    assert differing_tags(read(rich()), read(rich(), **how)) == set()


def test_byte_order_makes_no_difference() -> None:
    assert differing_tags(read(rich()), read(rich(), little=False)) == set()


@pytest.mark.parametrize(("change", "names", "is_patients"), [
    ({"PatientName": "A^B"}, {"PatientName"}, True), ({"ProcedureCodeSequence": [Dataset()]}, {"ProcedureCodeSequence"}, True),
    ({"Rows": 65}, {"Rows"}, False), ({"ReferencedImageSequence": []}, {"ReferencedImageSequence"}, False),
    ({"OtherPatientIDs": ["B", "A"]}, {"OtherPatientIDs"}, True), ({"SmallestImagePixelValue": -6}, {"SmallestImagePixelValue"}, False),
])
def test_a_change_is_told_by_its_tag(change: dict, names: set, is_patients: bool) -> None:
    ds = rich()
    for name, value in change.items():
        setattr(ds, name, value)
    tags = differing_tags(read(rich()), read(ds, explicit=False))
    assert {name_of(tag) for tag in tags} == names
    assert all(is_demographic(tag) for tag in tags) is is_patients


def test_a_value_deep_inside_counts() -> None:
    ds = rich()
    ds.ReferencedImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeMeaning = "Other"
    assert {name_of(tag) for tag in differing_tags(read(rich()), read(ds))} == {"ReferencedImageSequence"}


def test_values_for_people_are_short_and_printable() -> None:
    ds = rich()
    ds.PatientComments = "x" * 5000 + "\x1b[31m"
    found = read(ds)
    assert len(text_of(found, 0x00104000)) == 200
    assert text_of(found, 0x00101000) == "A \\ B"
    assert text_of(found, 0x00081140) == "2 items"
    assert text_of(found, 0x0040A730) == ""


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_mutated_bytes_are_read_or_refused(seed: int, count: int) -> None:
    chance = random.Random(seed)
    data = bytearray(encoded(rich()))
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        found = leaves(bytes(data), offset=0, explicit=True, little=True, limits=Limits(max_depth=8, max_elements=500))
    except Malformed:
        return
    tags = differing_tags(found, read(rich()))
    assert all(isinstance(text_of(found, tag), str) for tag in tags)


@pytest.mark.parametrize("tag", [b"\x08\x00\x00\x00", b"\xe0\x7f\x10\x00"])  # a group length, pixels in a sequence
def test_items_where_none_belong_are_read(tag: bytes) -> None:
    item = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    held = tag + b"OB\x00\x00\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    outer = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + item[:4] + b"\xff\xff\xff\xff" + held
    outer += b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    found = leaves(outer, offset=0, explicit=True, little=True, limits=Limits())
    assert "00081140/0" in found
    assert "00081140/1" not in found  # a fragment is no item of the sequence around it
