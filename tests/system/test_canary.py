"""After stores, searches, views and errors: no known name, identifier or UID in clear in any file, log or command line."""

from pathlib import Path

import pytest
from live_server import LiveServer
from phantom import ct_slice, multipart, part10

CANARY = "Zqxcanaryname"


def _files(*roots: Path) -> list[Path]:
    return [p for root in roots for p in root.rglob("*") if p.is_file() and not p.is_symlink()]


@pytest.mark.faults
def test_nothing_of_a_patient_is_in_clear_anywhere(tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("*"))
    live = LiveServer(tmp_path)
    live.run("devices", "add", "CT1", "--host", "127.0.0.1")
    live.start()
    ds = ct_slice(PatientName=f"{CANARY}^Anna", PatientID="ZQXID77812", AccessionNumber="ZQXACC991",
                  StudyDescription="Zqxdescription", ReferringPhysicianName="Zqxreferrer^Max")
    canaries = [CANARY, "ZQXID77812", "ZQXACC991", "Zqxdescription", "Zqxreferrer", ds.StudyInstanceUID,
                ds.SeriesInstanceUID, ds.SOPInstanceUID]
    script = live.script()
    root = f"{live.url}/dicomweb/studies"
    body, headers = multipart([part10(ds)])
    assert script.post(root, data=body, headers=headers).status_code == 200
    ds.PatientSex = "F"
    body, headers = multipart([part10(ds), b"broken " + CANARY.encode() * 500])
    assert script.post(root, data=body, headers=headers).status_code == 202
    assert script.post(root, data=body[:-40], headers=headers).status_code == 400
    for path, code in (
        (f"?PatientName={CANARY}*&PatientID=ZQXID77812", 200), (f"/{ds.StudyInstanceUID}/metadata", 200),
        (f"/{ds.StudyInstanceUID}", 200), (f"/{ds.StudyInstanceUID}/rendered", 200),
        (f"/{ds.StudyInstanceUID}.1/metadata", 404), (f"?StudyDate={CANARY}", 400),
    ):
        assert script.get(root + path).status_code == code, path
    assert live.session().get(f"{root}?PatientName={CANARY}").status_code == 401
    wado = f"{live.url}/wado?requestType=WADO&studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}&objectUID={ds.SOPInstanceUID}"
    for url, code in ((wado, 200), (f"{wado}&anonymize=yes", 501), (f"{root}/{ds.StudyInstanceUID}?accept=application/zip", 200)):
        assert script.get(url).status_code == code, code
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.dcm").write_bytes(part10(ct_slice(PatientName=f"{CANARY}^Import")))
    live.run("import", str(tmp_path / "in"))
    live.run("audit", "search", "--study", "-", text=ds.StudyInstanceUID)
    for pid in live.processes():
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not [c for c in canaries if c.encode() in line]
    live.kill()  # as it lies on disk, write-ahead log and all
    (tmp_path / "in" / "x.dcm").unlink()
    new = [p for p in Path("/tmp").glob("*") if p not in before and not tmp_path.is_relative_to(p) and p.is_file()]
    looked_at = _files(tmp_path) + new
    assert any(p.name.startswith("index.db") for p in looked_at)
    assert live.log in looked_at
    forms = [f for c in canaries for f in (c.encode(), c.encode("utf-16-le"), c.lower().encode(), c.upper().encode())]
    found = [(p, f) for p in looked_at for data in [p.read_bytes()] for f in forms if f in data]
    assert found == []
    assert live.run("audit", "verify").returncode == 0
    assert live.run("scrub").returncode == 0
