"""The whole of ../shared/data through a running server, by DCMTK's dcmsend and by STOW-RS: bounded, and alive at the end."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dcmtk_peer
import pytest
from closing_words import say_at_the_end
from corpus_run import DATA, manifest
from live_server import LiveServer
from phantom import multipart

from leadglass.dicom.elements import Limits
from leadglass.dicom.part10 import Head, parse_head
from leadglass.dicom.sop_classes import STORAGE_SOP_CLASSES
from leadglass.errors import Malformed

GROWTH = 400 << 20  # proportional memory of all processes together
BATCH = 40
_lines: list[str] = []

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(1800), pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("corpus-live"), token_seconds=7200)
    server.run("devices", "add", "DCMTK", "--host", "127.0.0.1")
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture(autouse=True)
def bounded(live: LiveServer, request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[None]:
    """Whatever a test sends: no process has ended, memory is bounded, nothing was an incident."""
    processes, before, started = live.processes(), live.pss_bytes(), time.monotonic()
    yield
    after = live.pss_bytes()
    _lines.append(f"{request.node.name}: {time.monotonic() - started:.0f} s, memory {before >> 20} -> {after >> 20} MiB")
    say_at_the_end(pytestconfig, "corpus, through a running server", _lines)
    assert [p for p in processes if not Path(f"/proc/{p}").exists()] == []
    assert after - before < GROWTH
    log = live.log.read_text(errors="replace")
    assert [line for line in log.splitlines() if "incident" in line or "Traceback" in line] == []
    assert live.session().get(f"{live.url}/healthz", timeout=2).status_code == 200


def _heads() -> dict[str, Head]:
    """Return path -> head of every file that must be taken: whole, and of a SOP class that the standard names."""
    found = {}
    for row in manifest():
        data = (DATA / row["path"]).read_bytes()
        try:
            head = parse_head(data, is_complete=True, limits=Limits())
        except Malformed:
            continue
        if head is not None and head.pixel_end <= len(data) and head.sop_class_uid in STORAGE_SOP_CLASSES:
            found[row["path"]] = head
    return found


def _instances(live: LiveServer) -> list[dict[str, Any]]:
    script, found = live.script(), []
    while True:
        answer = script.get(f"{live.url}/dicomweb/instances?limit=100&offset={len(found)}", timeout=30)
        rows = answer.json() if answer.status_code == 200 else []
        found += rows
        if not rows:
            assert answer.status_code in {200, 204}
            return found


def test_dcmsend_of_whole_folders(live: LiveServer) -> None:
    folders = [DATA / name for name in ("charsets", "modalities", "series", "syntaxes")]
    done = dcmtk_peer.send(live.dicom_port, *folders, calling="DCMTK", timeout=900)
    sent = done.count(r"Received C-STORE Response \(Success\)")
    held = done.count(r"Received C-STORE Response \(Warning")
    failed = done.count(r"Received C-STORE Response \((?:Failure|Error|Refused|Unknown)")
    _lines.append(f"dcmsend: {sent} stored, {held} held, {failed} refused")
    assert sent + held >= 300
    assert len(_instances(live)) >= 280
    for path in sorted((DATA / "odd").rglob("*")):  # one by one: some of these end dcmsend itself
        if path.is_file():
            try:
                dcmtk_peer.send(live.dicom_port, path, calling="DCMTK", timeout=20)
            except subprocess.TimeoutExpired:
                _lines.append(f"dcmsend hung over odd/{path.name}")


def test_stow_of_everything(live: LiveServer) -> None:
    script, statuses = live.script(), Counter()
    paths = [row["path"] for row in manifest()]
    for at in range(0, len(paths), BATCH):
        body, headers = multipart([(DATA / path).read_bytes() for path in paths[at : at + BATCH]], boundary="corpus-b0undary-7f3a")
        answer = script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers, timeout=300)
        statuses[answer.status_code] += 1
        assert answer.status_code in {200, 202, 409}, answer.text[:500]
    _lines.append(f"STOW-RS in batches of {BATCH}: answers {dict(statuses)}")
    wanted = {head.sop_instance_uid for head in _heads().values()}
    found = {row["00080018"]["Value"][0] for row in _instances(live)}
    assert wanted <= found
    assert len(found - wanted) < 10  # broken files that dcmsend has mended before it sent them


def test_everything_that_came_goes_out(live: LiveServer) -> None:
    script, rows = live.script(), _instances(live)
    studies = sorted({row["0020000D"]["Value"][0] for row in rows})
    for study in studies:
        for path in ("metadata", ""):
            answer = script.get(f"{live.url}/dicomweb/studies/{study}/{path}".rstrip("/"), timeout=120)
            assert answer.status_code == 200, (study, path, answer.status_code)
    with ThreadPoolExecutor(4) as pool:
        statuses = Counter(pool.map(lambda row: _rendered(live, script, row), rows))
    _lines.append(f"WADO-RS: {len(studies)} studies; rendered: {dict(statuses)}")
    assert statuses[200] >= 350
    assert max(statuses) < 500


def _rendered(live: LiveServer, script: Any, row: dict[str, Any]) -> int:
    study, series, instance = (row[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    url = f"{live.url}/dicomweb/studies/{study}/series/{series}/instances/{instance}/rendered"
    for _ in range(10):
        answer = script.get(url, headers={"Accept": "image/jpeg"}, timeout=120)
        if answer.status_code != 503:  # every decoder is at work: told to come again
            break
        time.sleep(1)
    return int(answer.status_code)
