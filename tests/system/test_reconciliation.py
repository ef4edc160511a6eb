"""DCMTK sends one image in many encodings, then a corrected name, then a rejection note: nothing is silent, nothing lost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dcmtk_peer import send
from live_server import LiveServer
from notes import rejection_note

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "syntaxes" / "ctimage-16"
LOSSLESS = ("LittleEndianExplicit", "LittleEndianImplicit", "BigEndianExplicit", "JPEGLSLossless", "JPEG2000LosslessOnly",
            "JPEGProcess14SV1", "RLELossless", "DeflatedExplicit")
pytestmark = [pytest.mark.peer, pytest.mark.corpus, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("reconciliation"))
    for ae in ("CT1", "EVIL"):
        server.run("devices", "add", ae, "--host", "127.0.0.1")
    server.start()
    yield server
    assert server.stop() == 0


def _files() -> list[Path]:
    found = [next(DATA.glob(f"*_{name}TransferSyntax_*.dcm"), None) or next(DATA.glob(f"*_{name}*.dcm")) for name in LOSSLESS]
    uids = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in found}
    assert len(uids) == 1
    return found


def _sorted(live: LiveServer, count: int) -> list[dict[str, Any]]:
    """Return the open tasks once the chores have compared all of them."""
    end = time.monotonic() + 60
    while True:
        tasks = live.json("reconcile", "list", "--json")
        if len(tasks) == count and all(task["kind"] != "unsorted" for task in tasks):
            return tasks
        assert time.monotonic() < end, tasks
        time.sleep(0.5)


def test_from_the_second_encoding_to_the_rejection(live: LiveServer, tmp_path: Path) -> None:
    files = _files()
    script = live.script()

    def studies() -> list[dict[str, Any]]:
        return script.get(f"{live.url}/dicomweb/studies?includefield=00100010").json()

    warned = 0
    for path in files:
        done = send(live.dicom_port, path)
        assert done.code == 0, done.output
        warned += done.output.count("with status WARNING  : 1")
    assert warned >= 4  # dcmsend itself makes one of several uncompressed encodings, which is the same again
    (study,) = studies()
    assert study["00201208"]["Value"] == [1]
    (task,) = _sorted(live, 1)
    assert (task["kind"], task["instances"], task["sender"], len(task["facts"]["syntaxes"])) == ("reencoded", 1, "CT1", warned)
    live.run("reconcile", "dismiss", str(task["id"]), "--reason", "the first is as good")

    ds = pydicom.dcmread(files[0])
    before = study["00100010"]["Value"][0]["Alphabetic"]
    ds.PatientName = "Corrected^Name"
    corrected = tmp_path / "corrected.dcm"
    ds.save_as(corrected)
    assert send(live.dicom_port, corrected).code == 0
    (task,) = _sorted(live, 1)
    assert (task["kind"], task["facts"]["keywords"]) == ("demographics", {"PatientName": 1})
    shown = live.run("reconcile", "show", str(task["id"])).stdout
    assert "PatientName" in shown
    assert "Corrected" not in shown
    assert studies()[0]["00100010"]["Value"][0]["Alphabetic"] == before
    facts = live.json("reconcile", "accept", str(task["id"]), "--reason", "corrected by the ward", "--json")
    assert facts == {"task": task["id"], "state": "accepted", "instances": 1}
    assert studies()[0]["00100010"]["Value"][0]["Alphabetic"] == "Corrected^Name"
    live.run("reconcile", "undo", str(task["id"]), "--reason", "not yet")
    assert studies()[0]["00100010"]["Value"][0]["Alphabetic"] == before

    ds.PatientName = before  # else the notes would name another patient than their study: two more tasks
    note = tmp_path / "note.dcm"
    rejection_note(ds, title="113037").save_as(note, enforce_file_format=True)
    assert send(live.dicom_port, note, calling="EVIL").code == 0  # kept, and without effect: not its own
    assert len(script.get(f"{live.url}/dicomweb/instances").json()) == 2
    assert live.json("rejections", "list", "--json") == []
    second = rejection_note(ds, title="113037")
    second.save_as(note, enforce_file_format=True)
    assert send(live.dicom_port, note).code == 0
    found = {i["00080018"]["Value"][0] for i in script.get(f"{live.url}/dicomweb/instances").json()}
    assert ds.SOPInstanceUID not in found
    root = f"{live.url}/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    assert script.get(root + "/metadata").status_code == 404
    done = send(live.dicom_port, files[0])
    assert "with status WARNING  : 1" in done.output, done.output
    (rejection,) = live.json("rejections", "list", "--json")
    assert (rejection["code"], rejection["hidden"], rejection["sender"]) == ("113037", 1, "CT1")
    assert live.json("rejections", "lift", str(rejection["id"]), "--reason", "safe after all", "--json")["shown"] == 1
    assert script.get(root + "/metadata").status_code == 200

    gauges = dict(line.split() for line in script.get(f"{live.url}/metrics").text.splitlines()
                  if line.startswith("leadglass_") and "{" not in line)
    assert gauges["leadglass_tasks_open"] == "1"
    assert int(gauges["leadglass_quarantine_bytes"]) > 0
    assert live.run("audit", "verify").returncode == 0
    assert live.run("scrub").returncode == 0
    log = live.log.read_text()
    assert "Corrected" not in log
    assert before not in log
