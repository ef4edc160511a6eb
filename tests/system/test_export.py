"""A study to take away: a ZIP that others open, byte by byte what is stored, recorded, and ended with the right to it."""

import hashlib
import subprocess
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

NAME = "Zqxexportname"


@pytest.fixture(scope="module")
def study(server: LiveServer) -> dict[str, Any]:
    """Two series of one study (four slices, a report, a compressed image), all under the same names."""
    one = ct_slice(PatientName=f"{NAME}^Anna", PatientID="ZQXEXP1", StudyDescription="Zqxdescription")
    files = [part10(one)]
    files += [part10(ct_slice(study=one.StudyInstanceUID, series=one.SeriesInstanceUID, number=n, PatientID="ZQXEXP1",
                              PatientName=f"{NAME}^Anna")) for n in (2, 3)]
    for name in ("JPEG2000.dcm", "reportsi.dcm", "rtdose.dcm"):
        ds = pydicom.dcmread(str(get_testdata_file(name)))
        ds.StudyInstanceUID, ds.PatientID, ds.PatientName = one.StudyInstanceUID, "ZQXEXP1", f"{NAME}^Anna"
        files.append(part10(ds))
    body, headers = multipart(files)
    server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    return {"one": one, "files": files, "url": f"{server.url}/dicomweb/studies/{one.StudyInstanceUID}"}


@pytest.fixture(scope="module")
def taker(server: LiveServer) -> requests.Session:
    """The session of a script that may export."""
    return server.script("taker")


def exports(server: LiveServer, study_uid: str) -> list[dict[str, Any]]:
    return [r for r in server.ledger() if r["action"] == "archive:study:export" and r["study"] == study_uid]


def test_a_study_leaves_as_a_file_set(server: LiveServer, taker: requests.Session, study: dict[str, Any], tmp_path: Path) -> None:
    script = taker
    answer = script.get(study["url"], headers={"Accept": "application/zip"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="study.zip"'
    assert answer.headers["cache-control"] == "no-store"
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        found = {hashlib.sha256(archive.read(n)).digest() for n in names if n.startswith("DICOM/")}
        archive.extractall(tmp_path)
    stored = {hashlib.sha256(script.get(f"{study['url']}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}", headers={
        "Accept": "application/dicom; transfer-syntax=*"}).content).digest() for ds in (pydicom.dcmread(BytesIO(f)) for f in study["files"])}
    assert found == stored
    assert names[0] == "README.TXT"
    assert names[-1] == "DICOMDIR"
    assert NAME.encode() not in "".join(names).encode() + (tmp_path / "README.TXT").read_bytes()
    assert all(len(part) <= 8 and part == part.upper() for n in names for part in n.split("/") if n != "README.TXT")
    files = FileSet(tmp_path / "DICOMDIR")
    assert sorted(i.SOPInstanceUID for i in files) == sorted(pydicom.dcmread(BytesIO(f)).SOPInstanceUID for f in study["files"])
    assert {i.load().PatientID for i in files} == {"ZQXEXP1"}
    files._stage["t"].cleanup()
    begun, decided = [r for r in exports(server, study["one"].StudyInstanceUID) if r["event"] != "outcome"][-2:]
    assert (decided["event"], decided["outcome"]) == ("decision", "done")
    assert (begun["event"], begun["details"]["what"]) == ("exported", "begun: 6 files")
    ended = exports(server, study["one"].StudyInstanceUID)[0]
    assert (ended["outcome"], ended["details"]["what"]) == ("done", "whole: 6 files")
    assert ended["details"]["bytes"] == len(answer.content)


@pytest.mark.peer
def test_other_programs_open_it(server: LiveServer, taker: requests.Session, study: dict[str, Any], tmp_path: Path) -> None:
    answer = taker.get(study["url"] + "?accept=application/zip")
    (tmp_path / "study.zip").write_bytes(answer.content)
    subprocess.run(["unzip", "-q", "study.zip"], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    dump = subprocess.run(["/usr/bin/dcmdump", "DICOMDIR"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert dump.stderr == ""
    assert {"SR DOCUMENT", "RT DOSE", "IMAGE"} <= {line.split("[")[1].split("]")[0].strip() for line in dump.stdout.splitlines() if "(0004,1430)" in line}
    assert dump.stdout.count("(0004,1500)") == 6
    for path in (tmp_path / "DICOM").rglob("IM*"):
        subprocess.run(["/usr/bin/dcmdump", "-q", str(path)], capture_output=True, timeout=60, check=True)


def test_a_series_leaves_alone_and_an_instance_is_no_file_set(server: LiveServer, taker: requests.Session, study: dict[str, Any]) -> None:
    script = taker
    series = f"{study['url']}/series/{study['one'].SeriesInstanceUID}"
    with zipfile.ZipFile(BytesIO(script.get(series, headers={"Accept": "application/zip, */*;q=0.1"}).content)) as archive:
        assert archive.namelist() == ["README.TXT", *[f"DICOM/SE000001/IM{n:06d}" for n in (1, 2, 3)], "DICOMDIR"]
    assert script.get(series, headers={"Accept": "*/*, application/zip;q=0.1"}).headers["content-type"].startswith("multipart/related")
    assert script.get(f"{series}/instances/{study['one'].SOPInstanceUID}", headers={"Accept": "application/zip"}).status_code == 406
    assert script.get(series + "?accept=application/zip&anonymize=yes").status_code == 400
    before = len(exports(server, study["one"].StudyInstanceUID))
    head = script.head(series, headers={"Accept": "application/zip"})
    assert (head.status_code, head.headers["content-type"]) == (200, "application/zip")
    assert [r["event"] for r in exports(server, study["one"].StudyInstanceUID)[:-before]] in ([], ["decision"]), "nothing left"


@pytest.fixture(scope="module")
def large(server: LiveServer) -> str:
    """A study of 50 MB in 12 files; its URL."""
    one = ct_slice()
    for first in range(1, 13, 6):
        files = [part10(ct_slice(size=1448, study=one.StudyInstanceUID, series=one.SeriesInstanceUID, number=n)) for n in range(first, first + 6)]
        body, headers = multipart(files)
        server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    return f"{server.url}/dicomweb/studies/{one.StudyInstanceUID}"


def ended(server: LiveServer, url: str, seconds: float = 10) -> dict[str, Any]:
    """Wait for the record of how the newest export of a study ended, and return it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = [r for r in exports(server, url.rpartition("/")[2]) if r["event"] == "exported"]
        if found and not found[0]["details"]["what"].startswith("begun"):
            return found[0]
        time.sleep(0.1)
    raise AssertionError("the export has no end in the ledger")


def test_a_client_that_goes_away_ends_the_work(server: LiveServer, taker: requests.Session, large: str) -> None:
    with taker.get(large, headers={"Accept": "application/zip"}, stream=True) as answer:
        assert answer.status_code == 200
        next(answer.iter_content(65536))
    record = ended(server, large)
    assert (record["outcome"], record["details"]["what"]) == ("failed", "cut before its end")
    assert record["details"]["bytes"] < 45e6


def test_revocation_in_the_middle_cuts_it(server: LiveServer, large: str) -> None:
    leaver = server.script("export-leaver")
    received = 0
    with leaver.get(large, headers={"Accept": "application/zip"}, stream=True) as answer:
        pieces = answer.iter_content(65536)
        received += len(next(pieces))
        server.run("clients", "revoke", "export-leaver")
        time.sleep(1.0)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for piece in pieces:
                received += len(piece)
    assert received < 45e6
    assert ended(server, large)["details"]["what"] == "cut before its end"


def test_memory_does_not_grow_with_the_study(server: LiveServer, taker: requests.Session, large: str) -> None:
    before = server.pss_bytes()
    with taker.get(large, headers={"Accept": "application/zip"}, stream=True) as answer:
        most = max(server.pss_bytes() for n, _ in enumerate(answer.iter_content(1 << 20)) if n % 16 == 0)
    assert most - before < 25e6
    assert ended(server, large)["details"]["what"].startswith("whole")


def test_who_may_not_export_is_told_nothing(server: LiveServer, taker: requests.Session, study: dict[str, Any]) -> None:
    unknown = server.session().get(study["url"], headers={"Accept": "application/zip"})
    assert (unknown.status_code, unknown.content) == (401, b"")
    missing = taker.get(f"{server.url}/dicomweb/studies/1.2.3.4", headers={"Accept": "application/zip"})
    assert missing.status_code == 404
