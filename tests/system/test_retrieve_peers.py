"""DCMTK, Orthanc and pynetdicom fetch, receive and ask for commitment; what arrives is compared with what was stored."""

import ssl
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import dcmtk_peer
import pytest
from joserfc import jwk, jwt
from live_server import LiveServer
from orthanc_peer import Orthanc, Tls
from phantom import ct_slice, part10
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation

pytestmark = pytest.mark.peer
COMMIT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
COUNT = 6


def body(data: bytes) -> bytes:
    """Return the data set of a Part 10 file, as it is encoded."""
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    return data[start:]


@pytest.fixture(scope="module")
def study(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A stored study, and the devices of this file."""
    uid, series = generate_uid(prefix=None), generate_uid(prefix=None)
    made = [ct_slice(study=uid, series=series, number=n, PatientID="RETRIEVE-1") for n in range(COUNT)]
    folder = tmp_path_factory.mktemp("files")
    for n, ds in enumerate(made):
        (folder / f"{n}.dcm").write_bytes(part10(ds))
    server.run("devices", "add", "WS", "--host", "127.0.0.1", "--role", "workstation")
    assert dcmtk_peer.send(server.dicom_port, folder).code == 0
    return {"uid": uid, "files": {ds.SOPInstanceUID: body(part10(ds)) for ds in made}, "datasets": made, "folder": folder,
            "keys": {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": uid}}


@pytest.fixture(scope="module")
def orthanc(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with a certificate of our CA, which both asks and receives over mutual TLS."""
    root = tmp_path_factory.mktemp("orthanc")
    server.run("devices", "add", "ORTHANC", "--host", "127.0.0.1", "--role", "pacs")
    server.run("devices", "issue", "ORTHANC", "--out", str(root))
    tls = Tls.issued(root, "ORTHANC")
    with Orthanc(root, tls=tls, takes_tls=True) as running:
        server.run("devices", "revoke", "ORTHANC")
        server.run("devices", "add", "ORTHANC", "--host", "127.0.0.1", "--role", "pacs", "--port", str(running.dicom_port),
                   "--certificate", str(tls.certificate))
        time.sleep(1.0)  # the DICOM TLS port learns of the certificate within a second
        running.know("LG", "LEADGLASS", server.dicom_tls_port, use_tls=True)
        yield running


def instances(paths: list[Path]) -> dict[str, bytes]:
    return {str(dcmread(p, stop_before_pixels=True).SOPInstanceUID): body(p.read_bytes()) for p in paths}


def test_getscu_gets_the_bytes(server: LiveServer, study: dict[str, Any], tmp_path: Path) -> None:
    done, got = dcmtk_peer.get(server.dicom_port, study["keys"], calling="WS", into=tmp_path / "got")
    assert done.last == {"status": 0, "completed": COUNT, "failed": 0, "warning": 0}, done.output[-3000:]
    assert instances(got) == study["files"]


def test_movescu_moves_the_bytes_to_storescp(server: LiveServer, study: dict[str, Any], tmp_path: Path) -> None:
    with dcmtk_peer.StoreScp(tmp_path, ae_title="DEST") as there:
        server.run("devices", "add", "DEST", "--host", "127.0.0.1", "--role", "workstation", "--port", str(there.port))
        assert server.json("devices", "echo", "DEST", "--json")["tls"] is False
        done = dcmtk_peer.move(server.dicom_port, study["keys"], to="DEST", calling="WS")
        assert done.last == {"status": 0, "completed": COUNT, "failed": 0, "warning": 0}, done.output[-3000:]
        assert instances(there.files()) == study["files"]
        unknown = dcmtk_peer.move(server.dicom_port, study["keys"], to="NOBODY", calling="WS")
        assert unknown.last["status"] == 0xA801
    record = next(r for r in server.ledger() if r["action"] == "archive:study:send" and r["event"] == "outcome")
    assert (record["details"]["destination"], record["details"]["instances"]) == ("DEST", COUNT)


def test_a_receiver_of_implicit_little_endian_gets_the_same_pixels(server: LiveServer, study: dict[str, Any], tmp_path: Path) -> None:
    with dcmtk_peer.StoreScp(tmp_path, ae_title="PLAIN", more=("+xi",)) as there:
        server.run("devices", "add", "PLAIN", "--host", "127.0.0.1", "--role", "workstation", "--port", str(there.port))
        done = dcmtk_peer.move(server.dicom_port, study["keys"], to="PLAIN", calling="WS")
        assert done.last == {"status": 0, "completed": COUNT, "failed": 0, "warning": 0}, done.output[-3000:]
        stored = {ds.SOPInstanceUID: ds for ds in study["datasets"]}
        for path in there.files():
            found = dcmread(path)
            assert found.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
            assert found.PixelData == stored[found.SOPInstanceUID].PixelData
            assert found.PatientName == stored[found.SOPInstanceUID].PatientName


def test_echoscu_over_tls(server: LiveServer, tmp_path: Path) -> None:
    server.run("devices", "add", "ECHOTLS", "--host", "127.0.0.1")
    server.run("devices", "issue", "ECHOTLS", "--out", str(tmp_path))
    time.sleep(1.0)
    options = dcmtk_peer.tls_options(Tls.issued(tmp_path, "ECHOTLS"))
    good = dcmtk_peer.run("echoscu", "-aet", "ECHOTLS", "-aec", "LEADGLASS", *options, "127.0.0.1", server.dicom_tls_port)
    assert good.code == 0, good.output
    stranger = dcmtk_peer.run("echoscu", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", server.dicom_tls_port)
    assert stranger.code != 0


def test_orthanc_asks_and_receives_over_mutual_tls(server: LiveServer, study: dict[str, Any], orthanc: Orthanc) -> None:
    assert server.json("devices", "echo", "ORTHANC", "--json")["tls"] is True
    assert orthanc.move("LG", "Study", {"StudyInstanceUID": study["uid"]}, "ORTHANC").ok
    got = {}
    for identifier in orthanc.instances():
        data = orthanc.file(identifier)
        got[str(dcmread(BytesIO(data), stop_before_pixels=True).SOPInstanceUID)] = body(data)
    assert got == study["files"]


def test_orthanc_finds_and_retrieves_what_it_has_found(server: LiveServer, study: dict[str, Any], orthanc: Orthanc) -> None:
    orthanc.forget()
    asked = orthanc.json("POST", "/modalities/LG/query", json={"Level": "Study", "Query": {"PatientID": "RETRIEVE-1"}})
    assert len(orthanc.json("GET", f"/queries/{asked['ID']}/answers")) == 1
    orthanc.json("POST", f"/queries/{asked['ID']}/retrieve", json={"TargetAet": "ORTHANC", "Synchronous": True})
    assert len(orthanc.instances()) == COUNT


def test_orthanc_takes_a_storage_commitment_report_on_a_new_association(server: LiveServer, orthanc: Orthanc) -> None:
    known = orthanc.upload(part10(ct_slice(PatientID="COMMIT-1")))["ID"]
    assert orthanc.store("LG", [known])["FailedInstancesCount"] == 0
    lost = orthanc.upload(part10(ct_slice(PatientID="COMMIT-2")))["ID"]
    good, bad = orthanc.commitment("LG", [known]), orthanc.commitment("LG", [lost])
    assert (good["Status"], len(good["Success"]), len(good["Failures"])) == ("Success", 1, 0)
    assert (bad["Status"], len(bad["Success"]), bad["Failures"][0]["FailureReason"]) == ("Failure", 0, 0x0112)


# --- pynetdicom -----------------------------------------------------------------------------------------------------
def _request(*uids: str) -> Dataset:
    request = Dataset()
    request.TransactionUID = generate_uid(prefix=None)
    request.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        request.ReferencedSOPSequence.append(item)
    return request


def test_pynetdicom_is_told_on_the_same_association(server: LiveServer, study: dict[str, Any]) -> None:
    told: list[tuple[int, Dataset]] = []
    came = threading.Event()

    def take(event: Any) -> tuple[int, None]:
        told.append((event.event_type, event.event_information))
        came.set()
        return 0, None

    ae = AE("CT1")
    ae.add_requested_context(COMMIT)
    association = ae.associate("127.0.0.1", server.dicom_port, ae_title="LEADGLASS", evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    uids = list(study["files"])
    request = _request(*uids, "1.2.3.4.5")
    status, _ = association.send_n_action(request, 1, COMMIT, WELL_KNOWN)
    assert status.Status == 0
    assert came.wait(20)
    association.release()
    (kind, report), = told
    assert (kind, report.TransactionUID) == (2, request.TransactionUID)
    assert [i.ReferencedSOPInstanceUID for i in report.ReferencedSOPSequence] == uids
    assert [i.FailureReason for i in report.FailedSOPSequence] == [0x0112]


def test_pynetdicom_is_told_on_a_new_association(server: LiveServer, study: dict[str, Any]) -> None:
    told: list[str] = []
    came = threading.Event()

    def take(event: Any) -> tuple[int, None]:
        told.append(event.event_information.TransactionUID)
        came.set()
        return 0, None

    receiver = AE("CT2")
    receiver.add_supported_context(COMMIT, scu_role=False, scp_role=True)
    running = receiver.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        server.run("devices", "add", "CT2", "--host", "127.0.0.1", "--port", str(running.server_address[1]))
        ae = AE("CT2")
        ae.add_requested_context(COMMIT)
        association = ae.associate("127.0.0.1", server.dicom_port, ae_title="LEADGLASS")
        request = _request(*study["files"])
        status, _ = association.send_n_action(request, 1, COMMIT, WELL_KNOWN)
        association.release()
        assert status.Status == 0
        assert came.wait(20)
        assert told == [request.TransactionUID]
    finally:
        running.shutdown()


def _fetch(ae: AE, port: int, study: dict[str, Any], **how: Any) -> dict[str, bytes]:
    got: dict[str, bytes] = {}

    def take(event: Any) -> int:
        got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0

    ae.add_requested_context(STUDY_GET)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    negotiation = [build_role(CTImageStorage, scp_role=True), *how.pop("more", [])]
    association = ae.associate("127.0.0.1", port, ae_title="LEADGLASS", ext_neg=negotiation, evt_handlers=[(evt.EVT_C_STORE, take)], **how)
    assert association.is_established
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study["uid"]
    statuses = [status.Status for status, _ in association.send_c_get(keys, STUDY_GET)]
    association.release()
    assert statuses[-1] == 0
    return got


def test_pynetdicom_fetches_with_role_selection_and_a_window(server: LiveServer, study: dict[str, Any]) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 0, 1
    assert _fetch(AE("WS"), server.dicom_port, study, more=[window]) == study["files"]


def test_pynetdicom_acts_for_a_client_over_tls(server: LiveServer, study: dict[str, Any], tmp_path: Path) -> None:
    server.run("devices", "add", "WSTLS", "--host", "127.0.0.1", "--role", "workstation")
    server.run("devices", "issue", "WSTLS", "--out", str(tmp_path))
    key_path = tmp_path / "reader.pem"
    client = server.json("clients", "add", "reader", "--role", "radiologist", "--key", str(key_path), "--json")["client_id"]
    tls = Tls.issued(tmp_path, "WSTLS")
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    time.sleep(1.0)
    now = int(time.time())
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 5, True
    identity.primary_field = jwt.encode({"alg": "ES256"}, {
        "iss": client, "sub": client, "aud": "dicom:LEADGLASS", "iat": now, "exp": now + 60, "jti": f"peer-{now}-1"},
        jwk.import_key(key_path.read_bytes(), "EC")).encode()
    assert _fetch(AE("WSTLS"), server.dicom_tls_port, study, more=[identity], tls_args=(context, "localhost")) == study["files"]
    record = next(r for r in server.ledger() if r["action"] == "archive:study:read" and r["subject"]["name"] == "WSTLS")
    assert record["acting_for"]["name"] == "reader"
