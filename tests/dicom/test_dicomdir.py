"""A DICOMDIR of ours is read by pydicom and DCMTK, and is written for whatever an instance lacks or holds."""

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import ct_slice, part10
from pydicom.fileset import _FOUR_LEVEL_SOP_CLASSES, FileSet

from leadglass.dicom import dicomdir
from leadglass.dicom.dicomdir import Directory, file_id_problem, record_type
from leadglass.dicom.sop_classes import STORAGE_SOP_CLASSES
from leadglass.errors import Malformed

CT = "1.2.840.10008.5.1.4.1.1.2"


def add(directory: Directory, number: int, model: dict[str, Any], sop_class: str = CT) -> None:
    directory.add(("DICOM", f"IM{number:06d}"), model, sop_class_uid=sop_class, sop_instance_uid=f"1.2.3.{number}",
                  transfer_syntax_uid="1.2.840.10008.1.2.1", has_pixels=True)


def read(directory: Directory) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(directory.to_bytes()))


def test_record_types_are_those_of_the_standard() -> None:
    for uid in STORAGE_SOP_CLASSES:
        known = _FOUR_LEVEL_SOP_CLASSES.get(pydicom.uid.UID(uid))
        found = record_type(uid, has_pixels=True)
        assert found == (known or found), uid
        assert found in dicomdir._KEYS, uid
    assert record_type("1.2.840.10008.5.1.4.1.1.481.1", has_pixels=True) == "IMAGE"
    assert record_type("1.2.840.10008.5.1.4.1.1.88.999", has_pixels=False) == "SR DOCUMENT"
    assert record_type("1.3.6.1.4.1.1", has_pixels=False) == "PRIVATE"


@pytest.mark.parametrize(("file_id", "is_good"), [
    (("A",), True), (("DICOM", "SE000001", "IM000001"), True), ((), False), (("A",) * 8, True), (("A",) * 9, False), (("a",), False),
    (("ABCDEFGHI",), False), (("A.B",), False), (("..",), False), (("",), False), (("MÜLLER",), False),
])
def test_file_ids(file_id: tuple[str, ...], is_good: bool) -> None:
    assert (file_id_problem(file_id) == "") is is_good
    if not is_good:
        with pytest.raises(ValueError, match="File ID"):
            Directory().add(file_id, {}, sop_class_uid=CT, sop_instance_uid="1.2", transfer_syntax_uid="1.2", has_pixels=True)


@pytest.mark.parametrize("kind", sorted(dicomdir._KEYS))
def test_a_record_of_every_kind_is_written_from_nothing(kind: str) -> None:
    directory = Directory()
    number = next((n for n, k in dicomdir._TYPES.items() if k == kind), "2")
    add(directory, 1, {"0020000D": {"vr": "UI", "Value": ["1.2"]}}, dicomdir._STEM + number)
    ds = read(directory)
    assert [r.DirectoryRecordType for r in ds.DirectoryRecordSequence][:3] == ["PATIENT", "STUDY", "SERIES"]
    last = ds.DirectoryRecordSequence[-1]
    assert last.DirectoryRecordType == record_type(dicomdir._STEM + number, has_pixels=True)
    assert list(last.ReferencedFileID) == ["DICOM", "IM000001"]
    tags = [e.tag for e in last]
    assert tags == sorted(tags)


def test_the_same_set_has_the_same_directory_and_text_is_utf8() -> None:
    def make() -> bytes:
        directory = Directory()
        for number in range(3):
            add(directory, number, {
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg", "Ideographic": "山田"}]}, "00100020": {"vr": "LO", "Value": ["P1"]},
                "0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": [f"1.2.{number % 2}"]},
                "0040A043": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["121181"]}}]}}, CT if number else "1.2.840.10008.5.1.4.1.1.88.11")
        return directory.to_bytes()

    assert make() == make()
    ds = pydicom.dcmread(BytesIO(make()))
    kinds = [r.DirectoryRecordType for r in ds.DirectoryRecordSequence]
    assert kinds == ["PATIENT", "STUDY", "SERIES", "SR DOCUMENT", "IMAGE", "SERIES", "IMAGE"]
    patient = ds.DirectoryRecordSequence[0]
    assert str(patient.PatientName) == "Müller^Jörg=山田"
    assert patient.SpecificCharacterSet == "ISO_IR 192"
    assert ds.DirectoryRecordSequence[3].ConceptNameCodeSequence[0].CodeValue == "121181"


VALUES = st.one_of(st.none(), st.text(max_size=40), st.integers(), st.floats(), st.dictionaries(st.text(max_size=12), st.text(max_size=9), max_size=3))
ENTRIES = st.one_of(st.none(), st.text(max_size=3), st.fixed_dictionaries({"vr": st.sampled_from(["LO", "SQ", "US", "PN", "XX"])}, optional={
    "Value": st.one_of(st.none(), st.lists(VALUES, max_size=5), st.text(max_size=5))}))
MODELS = st.dictionaries(st.sampled_from(["00100010", "00100020", "00080020", "0020000D", "0020000E", "00200013", "0040A043", "00080060"]), ENTRIES)


@settings(max_examples=200, deadline=None)
@given(st.lists(MODELS, min_size=1, max_size=6))
def test_whatever_the_models_hold_the_directory_is_whole(models: list[dict[str, Any]]) -> None:
    directory = Directory()
    for number, model in enumerate(models):
        add(directory, number, model)
    data = directory.to_bytes()
    ds = pydicom.dcmread(BytesIO(data))
    leaves = [r for r in ds.DirectoryRecordSequence if "ReferencedFileID" in r]
    assert len(leaves) == len(models)
    by_offset = {r.seq_item_tell: r for r in ds.DirectoryRecordSequence}
    assert ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity in by_offset
    reached, todo = 0, [ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity]
    while todo:
        record = by_offset[todo.pop()]
        reached += 1
        todo += [o for o in (record.OffsetOfTheNextDirectoryRecord, record.OffsetOfReferencedLowerLevelDirectoryEntity) if o]
    assert reached == len(ds.DirectoryRecordSequence)


def test_a_set_has_an_end() -> None:
    directory = Directory(max_instances=2)
    add(directory, 1, {})
    add(directory, 2, {})
    with pytest.raises(Malformed, match="by series"):
        add(directory, 3, {})


@pytest.mark.peer
def test_pydicom_and_dcmtk_read_it(tmp_path: Path) -> None:
    study = ct_slice()
    slices = [ct_slice(study=study.StudyInstanceUID, series=study.SeriesInstanceUID, number=n) for n in (1, 2, 3)]
    directory = Directory()
    (tmp_path / "DICOM").mkdir()
    for number, ds in enumerate(slices, 1):
        (tmp_path / "DICOM" / f"IM{number:06d}").write_bytes(part10(ds))
        directory.add(("DICOM", f"IM{number:06d}"), ds.to_json_dict(), sop_class_uid=ds.SOPClassUID, sop_instance_uid=ds.SOPInstanceUID,
                      transfer_syntax_uid=ds.file_meta.TransferSyntaxUID, has_pixels=True)
    path = tmp_path / "DICOMDIR"
    path.write_bytes(directory.to_bytes())
    files = FileSet(path)
    assert [i.SOPInstanceUID for i in files] == [ds.SOPInstanceUID for ds in slices]
    assert [i.load().InstanceNumber for i in files] == [1, 2, 3]
    files._stage["t"].cleanup()
    dump = subprocess.run(["/usr/bin/dcmdump", str(path)], capture_output=True, text=True, timeout=60, check=True)
    assert dump.stderr == ""
    assert dump.stdout.count("ReferencedFileID") == 3
    more = ct_slice(study=study.StudyInstanceUID, series=study.SeriesInstanceUID, number=4)
    (tmp_path / "DICOM" / "IM000004").write_bytes(part10(more))
    grown = subprocess.run(["/usr/bin/dcmmkdir", "-v", "+A", "+id", str(tmp_path), "+D", str(path), "DICOM/IM000004"],
                           capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert grown.returncode == 0, grown.stderr + grown.stdout
    files = FileSet(path)
    assert len(list(files)) == 4
    files._stage["t"].cleanup()
