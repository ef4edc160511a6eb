"""Further attributes: kept as bytes from any encoding, bounded, decoded without ever raising."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import ct_slice, part10
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from leadglass.dicom.elements import Limits
from leadglass.dicom.further import MAX_ELEMENT, MAX_KEPT, SERIES, STUDY, further, values_of
from leadglass.dicom.part10 import parse_head
from leadglass.errors import LeadglassError


def sample(**more):
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "C1", "99T"
    item.ScheduledProcedureStepID, item.ScheduledProtocolCodeSequence = "S1", [code]
    return ct_slice(SpecificCharacterSet="ISO_IR 192", PatientName="Müller", PatientComments="läuft", OtherPatientIDs=["A", "B"],
                    OperatorsName="Öp^One", RequestAttributesSequence=[item], **more)


def models(data):
    head = parse_head(data, is_complete=True, limits=Limits())
    return further(head.kept, head.transfer_syntax_uid)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_from_every_encoding(syntax, undefined):
    ds = sample()
    ds["RequestAttributesSequence"].is_undefined_length = undefined
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        dcmwrite(out, ds, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        ds.save_as(out, enforce_file_format=True)
    study, series = models(out.getvalue())
    assert study["00104000"]["Value"] == ["läuft"]
    assert series["00400275"]["Value"][0]["00400009"]["Value"] == ["S1"]
    assert {("OtherPatientIDs", 1, "LO", "B")} <= set(values_of(study))
    assert {("OperatorsName", 0, "PN", "Öp^One"), ("RequestAttributesSequence.ScheduledProcedureStepID", 0, "SH", "S1"),
            ("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue", 0, "SH", "C1")} <= set(values_of(series))


@pytest.mark.filterwarnings("ignore:The value length")
def test_what_is_too_large_is_left_out():
    study, _ = models(part10(sample(AdditionalPatientHistory="x" * (MAX_ELEMENT + 2), Occupation="y")))
    assert "001021B0" not in study
    assert "00102180" in study
    many = sample(**dict.fromkeys(("Allergies", "MedicalAlerts", "AdmittingDiagnosesDescription", "SpecialNeeds", "Occupation"), "x" * 16000))
    head = parse_head(part10(many), is_complete=True, limits=Limits())
    assert len(head.kept) <= MAX_KEPT


def test_no_attribute_is_of_two_levels():
    assert not STUDY & SERIES


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_broken_header_gives_what_can_be_read_or_is_refused(at, flip):
    data = bytearray(part10(sample(size=8)))
    data[132 + at % (len(data) - 132)] ^= flip
    try:
        study, series = models(bytes(data))
    except LeadglassError as e:
        assert str(e)
    else:
        values_of(study), values_of(series)
