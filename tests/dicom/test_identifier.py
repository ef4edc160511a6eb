"""Identifiers: pydicom reads what we write, we read what pydicom writes; what is hostile is refused."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from leadglass.dicom.identifier import MAX_IDENTIFIER, decode_identifier, encode_identifier
from leadglass.dicom.transfer_syntaxes import BIG_ENDIAN, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from leadglass.errors import LeadglassError, Malformed

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, BIG_ENDIAN)
NAMES = {  # character set -> a name that it holds
    "": "Smith^John", "ISO_IR 100": "Müller^Jörg", "ISO_IR 101": "Wałęsa", "ISO_IR 144": "Люкceмбypг", "ISO_IR 126": "Διονυσιος",
    "ISO_IR 127": "قباني^لنزار", "ISO_IR 138": "שרון^דבורה", "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 192": "Wang^XiaoDong=王^小東", "GB18030": "王^小东",
    "ISO_IR 166": "สมชาย", "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
}


def written(ds: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = syntax != BIG_ENDIAN, syntax == IMPLICIT_LITTLE
    write_dataset(out, ds)
    return out.getvalue()


def read(data: bytes, syntax: str) -> Dataset:
    from pydicom.filereader import read_dataset

    return read_dataset(io.BytesIO(data), syntax == IMPLICIT_LITTLE, syntax != BIG_ENDIAN)


def pn(text: str) -> dict:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {"vr": "PN", "Value": [dict(groups)]}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("charset", sorted(NAMES))
def test_names_both_ways_in_the_askers_set(charset, syntax):
    name = NAMES[charset]
    ds = Dataset()
    if charset:
        ds.SpecificCharacterSet = charset.split("\\")
    ds.QueryRetrieveLevel, ds.PatientName, ds.PatientID = "STUDY", name, ""
    question = decode_identifier(written(ds, syntax), syntax)
    assert question.value(0x00100010) == name
    assert question.value(0x00080052) == "STUDY"
    data = encode_identifier({"00100010": pn(name)}, syntax, question.character_set)
    back = read(data, syntax)
    assert str(back.PatientName) == name
    said = back.get("SpecificCharacterSet", "")
    assert ("\\".join(said) if not isinstance(said, str) else said) == charset


@pytest.mark.parametrize("charset", ["", "ISO_IR 100", "ISO_IR 144", "\\ISO 2022 IR 149", "no such set"])
def test_what_the_askers_set_cannot_hold_comes_in_utf_8(charset):
    back = read(encode_identifier({"00100010": pn("Wang=王^小東"), "00081030": {"vr": "LO", "Value": ["Łódź"]}}, EXPLICIT_LITTLE, charset),
                EXPLICIT_LITTLE)
    assert back.SpecificCharacterSet == "ISO_IR 192"
    assert (str(back.PatientName), back.StudyDescription) == ("Wang=王^小東", "Łódź")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_kind_of_value(syntax):
    model = {
        "00080020": {"vr": "DA", "Value": ["20260101"]}, "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00200013": {"vr": "IS", "Value": [7]}, "00280010": {"vr": "US", "Value": [512]},
        "00280030": {"vr": "DS", "Value": [0.5, 0.5]}, "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00104000": {"vr": "LT", "Value": ["a\\b"]}, "00081030": {"vr": "LO"}, "00189073": {"vr": "FD", "Value": [1.5]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}, {}]}, "00081032": {"vr": "SQ"},
        "00420011": {"vr": "OB", "InlineBinary": "AQID"}, "00280011": {"vr": "US", "Value": ["no number"]},
    }
    ds = read(encode_identifier(model, syntax), syntax)
    assert (ds.StudyDate, list(ds.ModalitiesInStudy), ds.StudyInstanceUID, ds.InstanceNumber) == ("20260101", ["CT", "SR"], "1.2.3", 7)
    assert (ds.Rows, list(ds.PixelSpacing), ds.FrameIncrementPointer, ds.AcquisitionDuration) == (512, [0.5, 0.5], 0x00181063, 1.5)
    assert (ds.PatientComments, ds.StudyDescription, ds.EncapsulatedDocument) == ("a\\b", "", b"\x01\x02\x03\x00")
    assert [str(i.get("ScheduledProcedureStepID", "")) for i in ds.RequestAttributesSequence] == ["S1", ""]
    assert len(ds.ProcedureCodeSequence) == 0
    assert ds.Columns is None
    again = decode_identifier(encode_identifier(model | {"00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]}},
                                                syntax), syntax)
    assert (again.value(0x00280010), again.value(0x00280030), again.value(0x00080061)) == ("512", "0.5\\0.5", "CT\\SR")
    (sequence,) = [key for key in again.keys if key.tag == 0x00400275]
    assert [(key.tag, key.text) for key in sequence.inner] == [(0x00400009, "S1")]


def test_hostile_identifiers_are_refused():
    deep = b""
    for _ in range(20):
        deep = struct.pack("<HHI", 0x0040, 0x0275, len(deep) + 8) + struct.pack("<HHI", 0xFFFE, 0xE000, len(deep)) + deep
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    for data in (bytes(MAX_IDENTIFIER + 1), deep, b"\x08\x00\x52\x00\xff\xff\xff\x7f", b"\x08\x00", struct.pack("<HHI", 8, 0x1110, 16) + item * 2,
                 struct.pack("<HHI", 8, 0x50, 0) * 2000, item):
        with pytest.raises(Malformed) as caught:
            decode_identifier(data, IMPLICIT_LITTLE)
        assert str(caught.value)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), syntax=st.sampled_from(SYNTAXES), flip=st.tuples(st.integers(0, 10**6), st.integers(1, 255)))
def test_any_bytes_are_a_question_or_malformed(data, syntax, flip):
    ds = Dataset()
    ds.SpecificCharacterSet, ds.QueryRetrieveLevel, ds.PatientName = "ISO_IR 192", "STUDY", "Ä*"
    inner = Dataset()
    inner.ScheduledProcedureStepID = "S1"
    ds.RequestAttributesSequence = [inner]
    good = bytearray(written(ds, syntax))
    good[flip[0] % len(good)] ^= flip[1]
    for raw in (data, bytes(good)):
        try:
            decode_identifier(raw, syntax)
        except LeadglassError as e:
            assert str(e)


