"""C-FIND as a workstation meets it: a real house, real sockets, pynetdicom and hand-made messages."""

import struct
import time

import pytest
from dimse_world import EXPLICIT, Client, pdata, world
from finding import PATIENT_FIND, STUDY_FIND, asker, find, keys
from pydicom.dataset import Dataset
from small_house import ct_slice, put

from leadglass.dicom.command import decode_command, encode_command

STUDIES = [f"1.2.840.97.{n}" for n in range(1, 4)]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "S1", "R1"
    utf = {"SpecificCharacterSet": "ISO_IR 192"}
    with world(tmp_path_factory.mktemp("find"), max_find_answers=450) as running:
        running.house.administration.devices_add(running.me, "WS", host="127.0.0.1", role="workstation")
        put(running.house,
            ct_slice(study=STUDIES[0], series=STUDIES[0] + ".1", PatientID="F1", PatientName="Müller^Jörg", StudyDate="20260101",
                     StudyTime="0930", InstitutionName="Nord", RequestAttributesSequence=[item], KVP="120", **utf),
            ct_slice(study=STUDIES[0], series=STUDIES[0] + ".2", PatientID="F1", PatientName="Müller^Jörg", StudyDate="20260101",
                     StudyTime="0930", Modality="SR", number=9, **utf),
            ct_slice(study=STUDIES[1], PatientID="F1", PatientName="Müller^Jörg", StudyDate="20260102", StudyTime="1100", **utf),
            ct_slice(study=STUDIES[2], PatientID="F3", PatientName="王^小東", StudyDate="20260103", **utf))
        put(running.house, *[ct_slice(study="1.2.840.97.9", series="1.2.840.97.9.1", number=n, PatientID="MANY") for n in range(1, 461)])
        yield running


def test_levels_of_the_patient_root(port):
    with asker(port.plain) as a:
        patients, statuses, _ = find(a, keys("PATIENT", PatientID="F*", PatientName="", NumberOfPatientRelatedStudies=""), model=PATIENT_FIND)
        assert sorted((p.PatientID, p.NumberOfPatientRelatedStudies) for p in patients) == [("F1", 2), ("F3", 1)]
        assert statuses == [0xFF00, 0xFF00, 0]
        studies, _, _ = find(a, keys("STUDY", PatientID="F1", StudyInstanceUID="", ModalitiesInStudy=""), model=PATIENT_FIND)
        assert sorted(s.StudyInstanceUID for s in studies) == STUDIES[:2]
        (series,), _, _ = find(a, keys("SERIES", PatientID="F1", StudyInstanceUID=STUDIES[0], SeriesInstanceUID="", Modality="SR"),
                               model=PATIENT_FIND)
        assert (series.SeriesInstanceUID, series.StudyInstanceUID, series.PatientID) == (STUDIES[0] + ".2", STUDIES[0], "F1")
        images, _, _ = find(a, keys("IMAGE", PatientID="F1", StudyInstanceUID=STUDIES[0], SeriesInstanceUID=STUDIES[0] + ".1",
                                    SOPInstanceUID="", InstanceNumber="", KVP=""), model=PATIENT_FIND)
        assert [(i.InstanceNumber, i.KVP) for i in images] == [(1, 120)]


def test_each_answer_holds_what_was_asked_and_what_it_must(port):
    with asker(port.plain, syntaxes=(EXPLICIT,)) as a:
        (study,), statuses, _ = find(a, keys("STUDY", StudyInstanceUID=STUDIES[0], PatientComments="", InstitutionName="", StudyDate="",
                                             ProcedureCodeSequence__CodeValue=""))
        assert (study.QueryRetrieveLevel, study.RetrieveAETitle, study.InstanceAvailability) == ("STUDY", "LEADGLASS", "ONLINE")
        assert (study.PatientComments, study.InstitutionName, study.StudyDate, len(study.ProcedureCodeSequence)) == ("", "", "20260101", 0)
        assert statuses == [0xFF01, 0]  # InstitutionName is of a series
        (series,), _, _ = find(a, keys("SERIES", StudyInstanceUID=STUDIES[0], Modality="CT", InstitutionName="",
                                       RequestAttributesSequence__ScheduledProcedureStepID=""))
        assert series.InstitutionName == "Nord"
        assert [(i.ScheduledProcedureStepID, "RequestedProcedureID" in i) for i in series.RequestAttributesSequence] == [("S1", False)]
        whole = keys("SERIES", StudyInstanceUID=STUDIES[0], Modality="CT")
        whole.RequestAttributesSequence = []
        (series,), _, _ = find(a, whole)
        assert series.RequestAttributesSequence[0].RequestedProcedureID == "R1"


@pytest.mark.parametrize(("question", "found"), [
    ({"RequestAttributesSequence__ScheduledProcedureStepID": "S1"}, 1), ({"RequestAttributesSequence__ScheduledProcedureStepID": "S2"}, 0),
    ({"RequestAttributesSequence__ScheduledProcedureStepID": "S1", "RequestAttributesSequence__RequestedProcedureID": "R2"}, 0),
    ({"ModalitiesInStudy": ["SR", "MR"]}, 1), ({"StudyInstanceUID": STUDIES[:2]}, 2), ({"PatientName": "MULLER*", "StudyDate": "20260102-"}, 1),
])
def test_matching(port, question, found):
    with asker(port.plain) as a:
        answers, statuses, _ = find(a, keys("STUDY", **question))
        assert len(answers) == found
        assert statuses[-1] == 0


@pytest.mark.parametrize(("charset", "name", "answered"), [
    ("ISO_IR 100", "Müller^*", "ISO_IR 100"), ("ISO_IR 192", "Müller*", "ISO_IR 192"), ("", "MULLER*", "ISO_IR 192"),
    ("ISO_IR 144", "Muller*", "ISO_IR 192"), ("GB18030", "王*", "GB18030"), ("ISO_IR 100", "*", "ISO_IR 192"),
])
def test_the_askers_character_set_or_utf_8(port, charset, name, answered):
    with asker(port.plain) as a:
        answers, _, _ = find(a, keys("PATIENT", charset, PatientID="F*", PatientName=name), model=PATIENT_FIND)
        assert answered in {p.SpecificCharacterSet for p in answers}
        assert {str(p.PatientName) for p in answers} <= {"Müller^Jörg", "王^小東"}


@pytest.mark.parametrize(("model", "question"), [
    (STUDY_FIND, keys("PATIENT", PatientID="")), (STUDY_FIND, keys("WORKLIST")), (STUDY_FIND, keys("", StudyDate="")),
    (STUDY_FIND, keys("SERIES", Modality="CT")), (STUDY_FIND, keys("SERIES", StudyInstanceUID="", Modality="CT")),
    (STUDY_FIND, keys("SERIES", StudyInstanceUID=STUDIES[:2])), (STUDY_FIND, keys("IMAGE", StudyInstanceUID=STUDIES[0])),
    (PATIENT_FIND, keys("STUDY", StudyInstanceUID=STUDIES[0])), (PATIENT_FIND, keys("STUDY", PatientID="F*")),
    (PATIENT_FIND, keys("SERIES", StudyInstanceUID=STUDIES[0])),
])
def test_without_level_or_unique_keys_above_it_is_a900(port, model, question):
    with asker(port.plain) as a:
        answers, statuses, last = find(a, question, model=model)
        assert (answers, statuses) == ([], [0xA900])
        assert last.ErrorComment


def test_extended_negotiation_brings_relations_fuzzy_names_and_combined_ranges(port):
    fuzzy = keys("STUDY", PatientName="jorg mull")
    combined = keys("STUDY", PatientID="F1", StudyDate="20260101-20260102", StudyTime="1000-0930")
    with asker(port.plain) as a:
        assert (find(a, fuzzy)[0], find(a, combined)[0]) == ([], [])
    with asker(port.plain, extended=bytes((1, 1, 1, 1, 1))) as a:
        (agreed,) = {info for uid, info in a.acceptor.sop_class_extended.items() if uid == STUDY_FIND}
        assert agreed == bytes((1, 1, 1, 0, 0))
        assert len(find(a, keys("SERIES", Modality="SR"))[0]) == 1
        assert len(find(a, keys("IMAGE", PatientID="F1"), model=PATIENT_FIND)[0]) == 3
        assert len(find(a, fuzzy)[0]) == 2
        assert len(find(a, keys("STUDY", PatientID="F1", StudyDate="20260101-20260102", StudyTime="1000-1200"))[0]) == 1
        assert len(find(a, combined)[0]) == 0
    with asker(port.plain, extended=bytes((1,))) as a:
        assert find(a, fuzzy)[0] == []


def test_keys_without_support_are_empty_and_said(port):
    with asker(port.plain) as a:
        (study,), statuses, _ = find(a, keys("STUDY", StudyInstanceUID=STUDIES[0], KVP="80", DetectorDescription=""))
        assert (study.KVP, study.DetectorDescription, statuses) == (None, "", [0xFF01, 0])
        (image,), statuses, _ = find(a, keys("IMAGE", StudyInstanceUID=STUDIES[0], SeriesInstanceUID=STUDIES[0] + ".1", KVP="80"))
        assert (image.KVP, statuses) == (120, [0xFF01, 0])


@pytest.mark.parametrize("question", [
    {"StudyInstanceUID": "1.2.x"}, {"StudyTime": "99x"}, {"StudyDate": "20269999"},
])
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_values_that_break_their_vr_are_c000(port, question):
    with asker(port.plain) as a:
        answers, statuses, last = find(a, keys("STUDY", **question))
        assert (answers, statuses) == ([], [0xC000])
        assert "99x" not in last.ErrorComment


def test_too_many_answers_are_refused_after_the_limit(port):
    with asker(port.plain, extended=b"\x01") as a:
        answers, statuses, _ = find(a, keys("IMAGE", StudyInstanceUID="1.2.840.97.9", SOPInstanceUID=""))
        assert len(answers) == len({i.SOPInstanceUID for i in answers}) == 450
        assert statuses[-1] == 0xA700


def test_headers_are_read_for_the_first_page_alone(port):
    with asker(port.plain, extended=b"\x01") as a:
        answers, statuses, _ = find(a, keys("IMAGE", StudyInstanceUID="1.2.840.97.9", SliceThickness=""))
        assert sum(i.SliceThickness is not None for i in answers) == 200
        assert (statuses[0], statuses[300]) == (0xFF00, 0xFF01)


def test_a_modality_and_a_stranger_find_nothing(port):
    with asker(port.plain, calling="CT1") as a:
        answers, statuses, _ = find(a, keys("STUDY", PatientID="F1"))
        assert (answers, statuses) == ([], [0x0124])


def test_cancel_is_heard(port):
    with Client(port.plain) as client:
        client.open(((1, STUDY_FIND, ("1.2.840.10008.1.2",)),), calling="WS")
        level = struct.pack("<HHI", 8, 0x52, 6) + b"IMAGE "
        uids = b"".join(struct.pack("<HHI", 0x20, e, len(v)) + v for e, v in ((0x0D, b"1.2.840.97.9"), (0x0E, b"1.2.840.97.9.1")))
        cancel = pdata(1, encode_command({"CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 5, "CommandDataSetType": 0x0101}),
                       is_command=True)
        client.sock.sendall(pdata(1, encode_command({
            "AffectedSOPClassUID": STUDY_FIND, "CommandField": 0x20, "MessageID": 5, "Priority": 0, "CommandDataSetType": 1}), is_command=True)
            + pdata(1, level + uids, is_command=False) + cancel)
        statuses = []
        while not statuses or statuses[-1] in {0xFF00, 0xFF01}:
            kind, body = client.read()
            assert kind == 4
            at = 0
            while at < len(body):
                length, _, control = struct.unpack_from(">IBB", body, at)
                if control & 1:
                    statuses.append(decode_command(body[at + 6 : at + 4 + length])["Status"])
                at += 4 + length
        assert statuses[-1] == 0xFE00
        assert len(statuses) < 100


def test_a_revoked_workstation_gets_no_further_answer(port):
    port.house.administration.devices_add(port.me, "WS2", host="127.0.0.1", role="workstation")
    with Client(port.plain) as client:
        client.open(((1, STUDY_FIND, ("1.2.840.10008.1.2",)),), calling="WS2")
        port.house.administration.devices_revoke(port.me, "WS2")
        level = struct.pack("<HHI", 8, 0x52, 6) + b"STUDY "
        client.sock.sendall(pdata(1, encode_command({
            "AffectedSOPClassUID": STUDY_FIND, "CommandField": 0x20, "MessageID": 5, "Priority": 0, "CommandDataSetType": 1}), is_command=True)
            + pdata(1, level, is_command=False))
        assert client.read()[0] == 7


def test_hostile_identifiers_are_answered_and_the_association_goes_on(port):
    with Client(port.plain) as client:
        client.open(((1, STUDY_FIND, ("1.2.840.10008.1.2",)),), calling="WS")
        for data in (bytes(70_000), b"\x08\x00\x52\x00\xff\xff\xff\x7f", b"\x00" * 7):
            client.sock.sendall(pdata(1, encode_command({
                "AffectedSOPClassUID": STUDY_FIND, "CommandField": 0x20, "MessageID": 5, "Priority": 0, "CommandDataSetType": 1}),
                is_command=True) + pdata(1, data, is_command=False))
            assert client.answer()["Status"] == 0xC000
        assert client.release() == 6


def test_no_value_stands_in_a_log_and_the_terms_stand_in_the_ledger(port, capfd):
    with asker(port.plain) as a:
        find(a, keys("STUDY", PatientName="SecretName*", PatientID="F1"))
    time.sleep(0.1)
    out = capfd.readouterr()
    assert "SecretName" not in out.out + out.err
    records = [row.record for row in port.house.ledger_reader.search(port.me, limit=5)]
    assert {"PatientName": "SecretName*", "PatientID": "F1"} in [record["details"].get("terms") for record in records]
