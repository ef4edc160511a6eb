"""The main job without a browser: stored over DICOM, TLS and HTTPS, found, given back as received, recorded."""

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from pydicom.data import get_testdata_file


def _after_meta(data: bytes) -> bytes:
    length = int.from_bytes(data[140:144], "little")
    assert data[128:132] == b"DICM"
    return data[144 + length :]


@pytest.mark.peer
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtplan.dcm"])
def test_a_modality_sends_and_a_script_reads_the_same_bytes(server: LiveServer, name: str) -> None:
    path = get_testdata_file(name)
    ds = pydicom.dcmread(path)
    extra = ("-xw",) if name == "JPEG2000.dcm" else ()
    result = subprocess.run(
        ["/usr/bin/storescu", "-R", *extra, "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", str(server.dicom_port), path],
        capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    script = server.script()
    found = script.get(f"{server.url}/dicomweb/studies", params={"StudyInstanceUID": ds.StudyInstanceUID}).json()
    assert [s["0020000D"]["Value"][0] for s in found] == [ds.StudyInstanceUID]
    answer = script.get(f"{server.url}/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/"
                        f"{ds.SOPInstanceUID}", headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200
    got = pydicom.dcmread(BytesIO(answer.content))
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:  # of uncompressed ones the sender chose another
        assert got.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
    got_again = {e.tag: e.value for e in got if e.VR != "SQ"}
    for element in ds:
        if element.VR != "SQ" and element.tag != 0xFFFCFFFC:  # storescu sends no trailing padding
            assert got_again[element.tag] == element.value


def test_stow_gives_back_exactly_what_was_sent(server: LiveServer) -> None:
    ds = ct_slice()
    data = part10(ds)
    body, headers = multipart([data])
    script = server.script()
    answer = script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers)
    assert answer.status_code == 200, answer.text
    root = f"{server.url}/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    got = script.get(root, headers={"Accept": "application/dicom"}).content
    assert _after_meta(got) == _after_meta(data)
    frame = script.get(root + "/frames/1", headers={"Accept": "application/octet-stream"})
    assert frame.status_code == 200
    assert ds.PixelData in frame.content
    picture = script.get(root + "/rendered", headers={"Accept": "image/png"})
    assert picture.status_code == 200, picture.text
    from PIL import Image

    pixels = np.asarray(Image.open(BytesIO(picture.content)).convert("L"))
    stored = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns)
    wanted = np.clip((stored - 499.5) / 999.0 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1
    assert np.abs(pixels.astype(int) - wanted).max() <= 2
    metadata = script.get(root + "/metadata").json()
    assert metadata[0]["00100010"]["Value"][0]["Alphabetic"] == "Test^Phantom"


def test_the_same_again_changes_nothing_and_other_content_is_held(server: LiveServer) -> None:
    ds = ct_slice()
    script = server.script()
    for _ in range(2):
        body, headers = multipart([part10(ds)])
        assert script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
    ds.PatientName = "Other^Content"
    body, headers = multipart([part10(ds)])
    answer = script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers)
    assert answer.status_code == 202
    (held,) = answer.json()["00081199"]["Value"]
    assert held["00081196"]["Value"] == [0xB000]
    assert "00081190" not in held  # it cannot be retrieved: what was there before is shown
    assert "00081198" not in answer.json()
    found = script.get(f"{server.url}/dicomweb/studies", params={"StudyInstanceUID": ds.StudyInstanceUID,
                                                                 "includefield": "00100010"}).json()
    assert found[0]["00201208"]["Value"] == [1]
    assert found[0]["00100010"]["Value"][0]["Alphabetic"] == "Test^Phantom"
    alerts = [r for r in server.ledger() if r.get("event") == "alert" and r.get("study") == ds.StudyInstanceUID]
    assert len(alerts) == 1
    assert alerts[0]["outcome"] == "done"
    assert alerts[0]["details"]["warning"] == "held for reconciliation"


@pytest.mark.peer
def test_strangers_get_nothing_and_are_recorded(server: LiveServer) -> None:
    result = subprocess.run(
        ["/usr/bin/echoscu", "-aet", "STRANGER", "-aec", "LEADGLASS", "127.0.0.1", str(server.dicom_port)],
        capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode != 0
    assert "Calling AE Title Not Recognized" in result.stderr
    assert any(r["subject"]["name"] == "STRANGER" and r["outcome"] == "refused" for r in server.ledger())
    session = server.session()
    for path in ("/dicomweb/studies", "/dicomweb/studies/1.2/metadata", "/dicomweb/studies/1.2/series/1.3/instances/1.4"):
        answer = session.get(server.url + path)
        assert (answer.status_code, answer.content) == (401, b"")
        assert session.get(server.url + path, headers={"Authorization": "Bearer lg_nonsense"}).status_code == 401


def test_a_revoked_script_is_out_within_a_second(server: LiveServer) -> None:
    import time

    script = server.script("leaver")
    assert script.get(f"{server.url}/dicomweb/studies").status_code == 200
    server.run("clients", "revoke", "leaver")
    time.sleep(1.0)
    assert script.get(f"{server.url}/dicomweb/studies").status_code == 401


def test_import_reports_what_was_refused_and_goes_on_where_it_was(server: LiveServer, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"good{number}.dcm").write_bytes(part10(ct_slice(number=number)))
    (tmp_path / "bad.dcm").write_bytes(b"not an image at all" * 100)
    result = server.run("import", str(tmp_path), "--json", check=False)
    assert result.returncode == 1
    import json

    facts = json.loads(result.stdout)
    assert facts["stored"] == 3
    assert [Path(r["path"]).name for r in facts["refused"]] == ["bad.dcm"]
    (tmp_path / "bad.dcm").unlink()
    assert server.json("import", str(tmp_path), "--json") == {"stored": 0, "duplicate": 0, "held": 0, "refused": []}


def test_the_ledger_is_whole_and_says_who_read(server: LiveServer) -> None:
    ds = ct_slice()
    body, headers = multipart([part10(ds)])
    script = server.script("reader")
    script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers)
    script.get(f"{server.url}/dicomweb/studies/{ds.StudyInstanceUID}/metadata")
    rows = server.json("audit", "search", "--study", "-", "--json", text=ds.StudyInstanceUID + "\n")
    reads = [r for r in rows if r["action"] == "archive:study:read" and r["event"] == "decision"]
    assert [(r["subject"]["name"], r["outcome"]) for r in reads] == [("reader", "done")]
    assert server.run("audit", "verify").returncode == 0
    assert server.run("scrub").returncode == 0
