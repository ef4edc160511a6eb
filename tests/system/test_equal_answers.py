"""C-FIND and QIDO-RS are one search: the same questions over the same data get the same rows with the same values."""

from typing import Any

import pytest
from dimse_world import world
from finding import asker, find, keys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from qido import qido
from small_house import ct_slice, put

from leadglass.terms import Peer, Plane

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:A value of type")  # wildcards; wrong case
PATHS = {"STUDY": "/studies", "SERIES": "/series", "IMAGE": "/instances"}
UNIQUE = {"STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}
ASKED = {
    "STUDY": ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
              "StudyDescription", "ReferringPhysicianName", "ModalitiesInStudy", "SOPClassesInStudy", "NumberOfPatientRelatedStudies",
              "NumberOfStudyRelatedInstances", "PatientComments", "PatientAge", "OtherPatientIDs", "ProcedureCodeSequence"),
    "SERIES": ("Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "StationName", "InstitutionName", "OperatorsName", "ProtocolName",
               "NumberOfSeriesRelatedInstances", "RequestAttributesSequence", "PatientName"),
    "IMAGE": ("SOPClassUID", "InstanceNumber", "Rows", "Columns", "NumberOfFrames", "KVP", "ImageComments", "Modality", "StudyDate"),
}
VALUES = {
    "PatientName": ["Müller^Jörg", "muller*", "*o*", "Smith^J?ne", "山田^太郎", "Yamada*", "Nobody", "=山田*", "*"],
    "PatientID": ["A1", "A*", "B?", "a1", "A1\\B2", "%", "_1"], "PatientSex": ["M", "F", "O", "m"], "StudyDate": ["20260101", "20260101-20260102", "-20260101", "20260103-"],
    "StudyTime": ["0900-1200", "10", "101112", "-1000"], "AccessionNumber": ["ACC?", "*", "ACC1", ""], "StudyDescription": ["*head*", "Head*", "*%*", "Head_CT"],
    "ModalitiesInStudy": ["CT", "SR", "MR\\SR", "X*"], "Modality": ["CT", "?R", "MR\\CT"], "SeriesNumber": ["1", "01", "2"], "InstanceNumber": ["1", "2"],
    "InstitutionName": ["North", "N*"], "OperatorsName": ["One^Op", "two*"], "ReferringPhysicianName": ["house*", "House^Gregory"], "PatientComments": ["*x*"],
    "RequestAttributesSequence__ScheduledProcedureStepID": ["S1", "S?", "S9"], "RequestAttributesSequence__RequestedProcedureID": ["R1", "R2"],
    "ProcedureCodeSequence__CodeValue": ["P1", "P*"], "SOPClassesInStudy": ["1.2.840.10008.5.1.4.1.1.2", "1.2.3"], "Rows": ["64", "32"],
    "PatientAge": ["030Y", "*Y"], "IssuerOfPatientID": ["HOSP", "*"],
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    def item(kind: str, *values: str) -> Dataset:
        ds = Dataset()
        for name, value in zip(("ScheduledProcedureStepID", "RequestedProcedureID") if kind == "step" else ("CodeValue", "CodingSchemeDesignator"),
                               values, strict=True):
            setattr(ds, name, value)
        return ds

    utf = {"SpecificCharacterSet": "ISO_IR 192"}
    with world(tmp_path_factory.mktemp("equal")) as running:
        running.house.administration.devices_add(running.me, "WS", host="127.0.0.1", role="workstation")
        running.house.administration.clients_add(running.me, "reader", "service")
        token, _ = running.house.administration.clients_token(running.me, "reader", seconds=600)
        reader = running.house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))
        first = ct_slice(PatientID="A1", PatientName="Müller^Jörg", PatientSex="M", StudyDate="20260101", StudyTime="0930", StudyDescription="Head_CT", InstitutionName="North",
                         OperatorsName=["One^Op", "Two^Op"], PatientComments="walks x", PatientAge="030Y", OtherPatientIDs=["X1", "X2"], KVP="120",
                         ReferringPhysicianName="House^Gregory", RequestAttributesSequence=[item("step", "S1", "R1"), item("step", "S2", "R2")],
                         ProcedureCodeSequence=[item("code", "P1", "99T")], **utf)
        put(running.house, first,
            ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2, PatientID="A1", PatientName="Müller^Jörg", ImageComments="zwei", **utf),
            ct_slice(study=first.StudyInstanceUID, Modality="SR", SeriesNumber=2, PatientID="A1", PatientName="Müller^Jörg", **utf),
            ct_slice(PatientID="A1", PatientName="Müller^Jörg", IssuerOfPatientID="HOSP", StudyDate="20260102", StudyTime="101112.5", Modality="MR", size=32, **utf),
            ct_slice(PatientID="B2", PatientName="Smith^Jane", PatientSex="F", StudyDate="20260103", StudyDescription="100% head", AccessionNumber="", Modality="XA"),
            ct_slice(PatientID="", PatientName="", StudyDate="", StudyTime="", StudyDescription=""),
            ct_slice(PatientID="C_1", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", StudyTime="10", RequestAttributesSequence=[item("step", "S1", "R2")], **utf))
        with asker(running.plain, extended=b"\x01") as association:
            yield running.house, reader, association


def plain(model: dict[str, Any]) -> Any:
    """Return a JSON model for comparison: no empty elements, numbers as text."""
    found = {}
    for key, entry in model.items():
        value = entry.get("Value")
        if value and entry["vr"] == "SQ":
            found[key] = [plain(one) for one in value]
        elif value:
            found[key] = [v if isinstance(v, dict) else float(v) if entry["vr"] == "DS" else str(v) for v in value]
    return found


def ask_both(faces: Any, level: str, filters: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    house, reader, association = faces
    values: dict[str, Any] = {k: int(v) if k == "Rows" else v.split("\\") if "\\" in v else v for k, v in filters.items()}
    asked = dict.fromkeys(ASKED[level]) | values
    question = keys(level, "ISO_IR 192", StudyInstanceUID="", **{k: "" if v is None else v for k, v in asked.items() if "Sequence" not in k or "__" in k})
    answers, statuses, _ = find(association, question)
    assert statuses[-1] == 0, statuses
    tags = {f"{tag_for_keyword(name):08X}" for name in ASKED[level] if "Sequence" not in name}
    by_find = {a[UNIQUE[level]].value: plain({k: v for k, v in a.to_json_dict().items() if k in tags}) for a in answers}
    assert len(by_find) == len(answers)
    reply = qido(house, reader, PATHS[level], includefield=[*ASKED[level]], limit=1000, **filters)
    by_web = {m[UNIQUE[level]]["Value"][0]: plain({k: v for k, v in m.items() if k in tags}) for m in reply.models}
    assert len(by_web) == len(reply.models)
    return by_find, by_web


@pytest.mark.parametrize("level", sorted(PATHS))
def test_every_value_alone(faces, level):
    some = 0
    for name, values in VALUES.items():
        for value in values:
            by_find, by_web = ask_both(faces, level, {name: value})
            assert by_find == by_web, (name, value)
            some += bool(by_find)
    assert some > 25


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(level=st.sampled_from(sorted(PATHS)),
       filters=st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 20), min_size=2, max_size=4))
def test_any_combination(faces, level, filters):
    chosen = {name: VALUES[name][at % len(VALUES[name])] for name, at in filters.items()}
    by_find, by_web = ask_both(faces, level, chosen)
    assert by_find == by_web


def test_sequences_are_the_same(faces):
    house, reader, association = faces
    whole = keys("SERIES", "ISO_IR 192", StudyInstanceUID="", Modality="CT")
    whole.RequestAttributesSequence = []
    answers, _, _ = find(association, whole)
    models = qido(house, reader, "/series", Modality="CT", includefield="RequestAttributesSequence").models
    assert sorted(str(plain(a.to_json_dict()).get("00400275")) for a in answers) == sorted(str(plain(m).get("00400275")) for m in models)
