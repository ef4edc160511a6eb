"""QIDO-RS: what comes by itself, what is included, what is warned of, in which form; what cannot be matched is 400."""

import pytest
from pydicom.dataset import Dataset
from qido import qido
from small_house import ct_slice, put, small_house
from starlette.exceptions import HTTPException

from leadglass.dicom.elements import Limits
from leadglass.dicom.xml_model import from_xml
from leadglass.errors import Malformed
from leadglass.terms import Peer, Plane

STUDY, SERIES = "1.2.840.98.1", "1.2.840.98.1.1"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID, item.ScheduledProcedureStepDescription = "S1", "R1", "Head"
    with small_house(tmp_path_factory.mktemp("qido")) as opened:
        put(opened, *[
            ct_slice(study=STUDY, series=SERIES, number=n, PatientID="Q1", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192",
                     PatientComments="walks", ProtocolName="Head", KVP="120", OperatorsName="Op^One",
                     RequestAttributesSequence=[item], ImageComments=f"number {n}")
            for n in range(1, 6)
        ])
        put(opened, *[ct_slice(PatientID=f"P{n}", StudyDate=f"2026020{n}", AccessionNumber="A" if n % 2 else "") for n in range(1, 8)])
        yield opened


@pytest.fixture(scope="module")
def reader(house):
    me = house.entrance.local("t")
    house.administration.clients_add(me, "reader", "service")
    token, _ = house.administration.clients_token(me, "reader", seconds=600)
    return house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def test_what_comes_by_itself(house, reader):
    (study,) = qido(house, reader, PatientID="Q1").models
    assert {"00080020", "00080050", "00080061", "00100010", "0020000D", "00201206", "00201208", "00081190", "00080056"} <= set(study)
    assert "00104000" not in study
    assert study["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    (series,) = qido(house, reader, f"/studies/{STUDY}/series").models
    assert series["00400275"]["Value"] == [{"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}}]
    assert "00100010" not in series
    assert "00100010" in qido(house, reader, "/series", PatientID="Q1").models[0]
    instances = qido(house, reader, f"/studies/{STUDY}/series/{SERIES}/instances").models
    assert [i["00200013"]["Value"] for i in instances] == [[1], [2], [3], [4], [5]]
    assert instances[0]["00081190"]["Value"][0].startswith(f"https://localhost/dicomweb/studies/{STUDY}/series/{SERIES}/instances/")
    assert len(qido(house, reader, f"/studies/{STUDY}/instances").models) == 5
    assert len(qido(house, reader, "/instances", PatientID="Q1").models) == 5


def test_includefield(house, reader):
    def one(path="/studies", **more):
        return qido(house, reader, path, PatientID="Q1", **more).models[0]

    assert one(includefield="PatientComments")["00104000"]["Value"] == ["walks"]
    assert one(includefield="00104000,NumberOfPatientRelatedStudies")["00201200"]["Value"] == [1]
    assert one(includefield=["00104000", "SOPClassesInStudy"])["00080062"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
    everything = one("/series", includefield="all")
    assert everything["00181030"]["Value"] == ["Head"]
    assert len(everything["00400275"]["Value"][0]) == 3
    assert one("/series", includefield="00400275.00400007")["00400275"]["Value"][0].keys() == {"00400007", "00400009", "00401001"}
    assert one("/instances", includefield="KVP,ImageComments")["00180060"]["Value"] == [120]
    assert "7FE00010" not in one("/instances", includefield="7FE00010")


def test_header_reads_are_bounded_and_said(house, reader, monkeypatch):
    from leadglass.archive import search_headers

    assert "warning" not in qido(house, reader, "/instances", PatientID="Q1", includefield="KVP").headers
    monkeypatch.setattr(search_headers, "MAX_HEADERS", 2)
    reply = qido(house, reader, "/instances", PatientID="Q1", includefield="KVP")
    assert sum("00180060" in model for model in reply.models) == 2
    assert reply.headers["warning"].startswith('299 https://localhost/dicomweb "Attributes that only')


def test_matching_by_keyword_tag_and_path(house, reader):
    def count(path="/studies", **more):
        return len(qido(house, reader, path, **more).models)

    assert count(PatientID="Q1") == count(**{"00100020": "Q1"}) == 1
    assert count(**{"00400275__00400009": "S1"}) == count(RequestAttributesSequence__ScheduledProcedureStepID="S1") == 1
    assert count(**{"00400275.00400009": "S1", "RequestAttributesSequence.RequestedProcedureID": "R2"}) == 0
    assert count(ModalitiesInStudy="CT,MR") == 8
    assert count(StudyInstanceUID=f"{STUDY},1.2.3") == 1
    assert count(PatientID="P1\\P2", multiplevaluematching="true") == 2
    assert count(PatientID="P1,P2") == 0
    assert count(AccessionNumber='""', emptyvaluematching="true") == 3
    assert count(StudyDate="20260201-20260203") == 3
    assert count(PatientName="jorg mull", fuzzymatching="true") == 1
    assert count(PatientName="jorg mull") == 0
    assert count("/series", OperatorsName="op^one") == 1


def test_warnings(house, reader):
    reply = qido(house, reader, limit=3, PatientID="P*")
    assert len(reply.models) == 3
    assert reply.headers["warning"] == '299 https://localhost/dicomweb "There are 4 additional results that can be requested"'
    assert "There are 1 " in qido(house, reader, limit=3, offset=3, PatientID="P*").headers["warning"]
    assert "warning" not in qido(house, reader, limit=3, offset=4, PatientID="P*").headers
    assert qido(house, reader, limit=0).models == []
    assert "literal matching" in qido(house, reader, "/series", OperatorsName="op^one", fuzzymatching="true").headers["warning"]
    assert "warning" not in qido(house, reader, PatientName="op", fuzzymatching="true").headers


def test_xml(house, reader):
    reply = qido(house, reader, PatientID="P*", accept='multipart/related; type="application/dicom+xml"')
    assert reply.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    boundary = reply.headers["content-type"].rpartition("boundary=")[2].strip('"').encode()
    parts = [p.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") for p in reply.body.split(b"--" + boundary)[1:-1]]
    models = [from_xml(part, Limits()) for part in parts]
    wanted = qido(house, reader, PatientID="P*").models
    assert [m["0020000D"]["Value"] for m in models] == [m["0020000D"]["Value"] for m in wanted]
    assert qido(house, reader, PatientID="none", accept='multipart/related; type="application/dicom+xml"').status == 204
    with pytest.raises(HTTPException):
        qido(house, reader, accept="text/html")


@pytest.mark.parametrize("parameters", [
    {"NoSuchKey": "1"}, {"RetrieveURL": "x"}, {"00400275.NoKey": "1"}, {"00400275.00400009.00400009.00400009.00400009": "1"}, {"limit": "x"},
    {"limit": ["1", "2"]}, {"fuzzymatching": "maybe"}, {"emptyvaluematching": "1"}, {"includefield": "<script>"}, {"PatientID": "x" * 5000},
    {"PatientID": ["1", "2"]}, {"NumberOfStudyRelatedSeries": "1"}, {"StudyInstanceUID": "xyzzy"},
])
def test_what_cannot_be_asked_is_refused_without_its_value(house, reader, parameters):
    with pytest.raises(Malformed) as caught:
        qido(house, reader, **parameters)
    assert "script" not in str(caught.value)
    assert "xyzzy" not in str(caught.value)


def test_the_terms_are_in_the_ledger(house, reader):
    qido(house, reader, PatientID="Q1")
    records = [row.record for row in house.ledger_reader.search(house.entrance.local("t"), limit=5)]
    assert {"PatientID": "Q1"} in [record["details"].get("terms") for record in records]
