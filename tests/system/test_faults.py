"""kill -9 in the middle of a load; a disk that fills up. What was acknowledged is there, the rest is not half there."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from pydicom.uid import generate_uid

pytestmark = pytest.mark.faults


def _load(live: LiveServer, token: str, acknowledged: set[str], stop: threading.Event, thread: int) -> None:
    """Store without end, and remember what the server has acknowledged."""
    session = live.session(token)
    study = generate_uid(prefix=None)
    number = 0
    while not stop.is_set():
        number += 1
        batch = [ct_slice(study=study, number=number * 10 + i, seed=thread) for i in range(3)]
        body, headers = multipart([part10(d) for d in batch])
        try:
            answer = session.post(f"{live.url}/dicomweb/studies", data=body, headers=headers, timeout=20)
            if answer.status_code in {200, 202}:
                acknowledged |= {r["00081155"]["Value"][0] for r in answer.json()["00081199"]["Value"]}
        except (requests.RequestException, ValueError):
            return


@pytest.mark.timeout(300)
def test_every_acknowledged_instance_survives_kill_9(tmp_path: Path) -> None:
    live = LiveServer(tmp_path)
    live.run("clients", "add", "load", "--role", "service", "--key", str(tmp_path / "k.pem"))
    token = live.run("clients", "token", "load").stdout.strip()
    acknowledged: set[str] = set()
    seed = int(os.environ.get("LEADGLASS_TEST_SEED", "7"))
    moments = random.Random(seed)
    for _ in range(5):
        live.start()
        stop = threading.Event()
        threads = [threading.Thread(target=_load, args=(live, token, acknowledged, stop, n)) for n in range(3)]
        before = len(acknowledged)
        for thread in threads:
            thread.start()
        time.sleep(0.5 + moments.random())
        live.kill()
        stop.set()
        for thread in threads:
            thread.join(30)
        assert len(acknowledged) > before, "the load was cut before anything was acknowledged"
    live.start()
    report = live.json("scrub", "--json")
    assert report["findings"] == []
    assert report["verified"] == report["objects"] >= len(acknowledged)
    assert live.json("audit", "verify", "--json")["findings"] == []
    session = live.session(token)
    there: dict[str, bool] = {}
    for study in session.get(f"{live.url}/dicomweb/studies?limit=500").json():
        uid = study["0020000D"]["Value"][0]
        rows = session.get(f"{live.url}/dicomweb/studies/{uid}/instances?limit=5000").json()
        assert study["00201208"]["Value"] == [len(rows)]
        there |= {r["00080018"]["Value"][0]: True for r in rows}
    assert acknowledged <= set(there)
    # And the other way round: whatever is listed is whole.
    one = next(iter(acknowledged))
    assert one in there
    assert live.stop() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB of its own."""
    assert os.geteuid() == 0, "this test mounts a small file system: run it as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.peer
@pytest.mark.timeout(300)
def test_a_full_disk_stops_storing_and_reading_goes_on(small_disk: Path) -> None:
    live = LiveServer(small_disk, disk_reserve_bytes=24 << 20, ledger_reserve_bytes=2 << 20)
    live.run("devices", "add", "CT1", "--host", "127.0.0.1")
    live.start()
    try:
        script = live.script()
        first = ct_slice(size=512)
        body, headers = multipart([part10(first)])
        assert script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
        status = 200
        for number in range(400):
            body, headers = multipart([part10(ct_slice(size=512, number=number))])
            answer = script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers)
            status = answer.status_code
            if status != 200:
                break
        assert status == 507, answer.text
        path = small_disk / "one.dcm"
        path.write_bytes(part10(ct_slice()))
        result = subprocess.run(
            ["/usr/bin/storescu", "-v", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", str(live.dicom_port), str(path)],
            capture_output=True, text=True, timeout=60, check=False)
        assert "0xa700" in (result.stdout + result.stderr).lower() or "OutOfResources" in result.stdout + result.stderr
        answer = script.get(f"{live.url}/dicomweb/studies/{first.StudyInstanceUID}",
                            headers={"Accept": 'multipart/related; type="application/dicom"'})
        assert answer.status_code == 200
        assert first.PixelData in answer.content
        found = script.get(f"{live.url}/dicomweb/studies", params={"PatientID": "PHANTOM-1", "limit": "1"})
        assert len(found.json()) == 1
        assert script.get(f"{live.url}/readyz").status_code == 200
        reads = live.json("audit", "search", "--study", "-", "--json", text=first.StudyInstanceUID)
        assert any(r["action"] == "archive:study:read" for r in reads)  # the ledger still has its space
        assert live.run("audit", "verify").returncode == 0
        for uid in script.get(f"{live.url}/dicomweb/studies?limit=1000").json():
            assert uid["00201208"]["Value"] == [1]
    finally:
        live.stop()


@pytest.mark.peer
def test_a_worker_that_dies_is_replaced_and_the_server_goes_on(tmp_path: Path) -> None:
    live = LiveServer(tmp_path)
    live.run("devices", "add", "CT1", "--host", "127.0.0.1")
    live.start()
    script = live.script()
    assert live.process is not None
    children = live.processes()[1:]
    assert len(children) >= 5
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while len(live.processes()) < 6 or set(live.processes()) & set(children):
        assert time.monotonic() < deadline, "the workers did not come back"
        time.sleep(0.2)
    time.sleep(1.5)
    for _ in range(4):  # each of the workers
        assert live.session().get(f"{live.url}/readyz", timeout=10).status_code == 200
        subprocess.run(["/usr/bin/echoscu", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", str(live.dicom_port)], check=True,
                       timeout=20)
    body, headers = multipart([part10(ct_slice())])
    assert script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
    assert live.log.read_text().count("worker_died") == len(children)
    assert live.stop() == 0
