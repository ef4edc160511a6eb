"""Orthanc as the one who asks: C-FIND over DICOM TLS and QIDO-RS over HTTPS, of a running server."""

import pytest
from live_server import LiveServer
from orthanc_peer import Orthanc, Tls
from phantom import ct_slice, multipart, part10

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def asking(server: LiveServer, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("asking")
    server.run("devices", "add", "ORTHANC", "--host", "127.0.0.1", "--role", "pacs")
    server.run("devices", "issue", "ORTHANC", "--out", str(root))
    utf = {"SpecificCharacterSet": "ISO_IR 192"}
    first = ct_slice(PatientID="ASK-1", PatientName="Müller^Jörg", StudyDate="20260101", InstitutionName="North", **utf)
    body, headers = multipart([part10(ds) for ds in (
        first, ct_slice(study=first.StudyInstanceUID, Modality="SR", PatientID="ASK-1", PatientName="Müller^Jörg", StudyDate="20260101", **utf),
        ct_slice(PatientID="ASK-2", PatientName="王^小東", StudyDate="20260201", **utf))])
    script = server.script("orthanc")
    assert script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
    with Orthanc(root, ca=server.ready["ca"], tls=Tls.issued(root, "ORTHANC")) as orthanc:
        orthanc.know("LG", "LEADGLASS", server.dicom_tls_port, use_tls=True)
        orthanc.know_web("lg", f"{server.url}/dicomweb/", str(script.headers["Authorization"]).removeprefix("Bearer "))
        yield orthanc, str(first.StudyInstanceUID)


@pytest.mark.parametrize(("level", "query", "key", "found"), [
    ("Patient", {"PatientID": "ASK-*"}, "PatientID", ["ASK-1", "ASK-2"]), ("Patient", {"PatientName": "muller*"}, "PatientID", ["ASK-1"]),
    ("Study", {"PatientID": "ASK-1"}, "PatientID", ["ASK-1"]), ("Study", {"StudyDate": "20260101-20260131"}, "PatientID", ["ASK-1"]),
    ("Study", {"ModalitiesInStudy": "SR"}, "PatientID", ["ASK-1"]), ("Study", {"PatientName": "王*"}, "PatientID", ["ASK-2"]),
])
def test_c_find(asking, level, query, key, found) -> None:
    orthanc, _ = asking
    asked = {"PatientID": "", "StudyInstanceUID": "", **query} if level == "Study" else {"PatientID": "", **query}
    assert sorted({row[key] for row in orthanc.find("LG", level, asked)}) == found


def test_c_find_of_series(asking) -> None:
    orthanc, study = asking
    rows = orthanc.find("LG", "Series", {"PatientID": "ASK-1", "StudyInstanceUID": study, "SeriesInstanceUID": "", "Modality": ""})
    assert sorted(row["Modality"] for row in rows) == ["CT", "SR"]


@pytest.mark.parametrize(("uri", "arguments", "tag", "found"), [
    ("/studies", {"PatientID": "ASK-1"}, "00100020", ["ASK-1"]), ("/studies", {"PatientName": "muller*"}, "00100020", ["ASK-1"]),
    ("/series", {"InstitutionName": "North"}, "00080060", ["CT"]), ("/instances", {"PatientID": "ASK-1"}, "00080060", ["CT", "SR"]),
])
def test_qido(asking, uri, arguments, tag, found) -> None:
    orthanc, _ = asking
    models = orthanc.web_find("lg", uri, arguments)
    assert sorted(model[tag]["Value"] for model in models) == found
