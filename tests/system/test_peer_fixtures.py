"""The foreign programs themselves, as tests/support starts them: against the running server, and against one another."""

import struct

import dcmtk_peer
import pytest
from live_server import LiveServer
from orthanc_peer import Orthanc, Tls
from peer_versions import peer_versions
from phantom import ct_slice, part10

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def orthanc(server: LiveServer, tmp_path_factory: pytest.TempPathFactory):
    """Orthanc, known to the server as ORTHANC with a certificate of its own; DICOM TLS and HTTPS as a client."""
    root = tmp_path_factory.mktemp("orthanc")
    server.run("devices", "add", "ORTHANC", "--host", "127.0.0.1", "--role", "pacs")
    server.run("devices", "issue", "ORTHANC", "--out", str(root))
    server.run("devices", "add", "DCMTK", "--host", "127.0.0.1")
    with Orthanc(root, ca=server.ready["ca"], tls=Tls.issued(root, "ORTHANC")) as running:
        running.know("LG", "LEADGLASS", server.dicom_tls_port, use_tls=True)
        running.know_web("lg", f"{server.url}/dicomweb/", str(server.script("orthanc").headers["Authorization"]).removeprefix("Bearer "))
        yield running


def test_every_peer_is_here_with_its_version() -> None:
    assert {name for name, version in peer_versions().items() if version == "not installed"} == set()


def test_orthanc_sends_over_dicom_tls(server: LiveServer, orthanc: Orthanc) -> None:
    ds = ct_slice(PatientID="ORTHANC-TLS")
    identifier = orthanc.upload(part10(ds))["ID"]
    assert orthanc.echo("LG")
    assert orthanc.store("LG", [identifier])["FailedInstancesCount"] == 0
    found = server.script().get(f"{server.url}/dicomweb/instances?SOPInstanceUID={ds.SOPInstanceUID}")
    assert [i["00080018"]["Value"] for i in found.json()] == [[ds.SOPInstanceUID]]


def test_orthanc_stores_searches_and_retrieves_over_https(server: LiveServer, orthanc: Orthanc) -> None:
    ds = ct_slice(PatientID="ORTHANC-WEB")
    identifier = orthanc.upload(part10(ds))["ID"]
    orthanc.web_store("lg", [identifier])
    (study,) = orthanc.web_find("lg", "/studies", {"PatientID": "ORTHANC-WEB"})
    assert ds.StudyInstanceUID in str(study)
    orthanc.json("DELETE", f"/instances/{identifier}")
    orthanc.web_retrieve("lg", [{"Study": ds.StudyInstanceUID}])
    assert identifier in orthanc.instances()


def test_orthanc_dies_of_one_file_and_comes_back(orthanc: Orthanc) -> None:
    deep = struct.pack("<HH2sHIHHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    data = part10(ct_slice())
    known = orthanc.upload(data)["ID"]
    before = orthanc.deaths
    status = orthanc.offer(data[: data.index(b"\xe0\x7f\x10\x00")] + deep * 100_000)
    assert (status, orthanc.deaths) in {(0, before + 1), (400, before)}  # what we want of it: it serves afterwards
    assert known in orthanc.instances()


def test_dcmtk_sends_a_folder_and_orthanc_is_asked_by_it(server: LiveServer, orthanc: Orthanc, tmp_path) -> None:
    ds = ct_slice(PatientID="DCMTK-1")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "one.dcm").write_bytes(part10(ds))
    assert dcmtk_peer.send(server.dicom_port, folder, calling="DCMTK").code == 0
    orthanc.upload(part10(ds))
    done, (answer,) = dcmtk_peer.find(orthanc.dicom_port, {"QueryRetrieveLevel": "STUDY", "PatientID": "DCMTK-1", "StudyInstanceUID": ""},
                                      called="ORTHANC", into=tmp_path / "found")
    assert (done.code, done.last["status"], answer.StudyInstanceUID) == (0, 0, ds.StudyInstanceUID)
    unique = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ds.StudyInstanceUID}
    done, (got,) = dcmtk_peer.get(orthanc.dicom_port, unique, called="ORTHANC", into=tmp_path / "got")
    assert done.last == {"status": 0, "completed": 1, "failed": 0, "warning": 0}
    assert got.read_bytes().endswith(ds.PixelData)
    with dcmtk_peer.StoreScp(tmp_path) as destination:
        orthanc.know("DEST", "DEST", destination.port)
        done = dcmtk_peer.move(orthanc.dicom_port, unique, to="DEST", called="ORTHANC")
        assert done.last["status"] == 0
        (moved,) = destination.files()
        assert moved.read_bytes().endswith(ds.PixelData)
