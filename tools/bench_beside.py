"""The same work on Leadglass and on Orthanc, on this machine, in one run: the ratios.

    make bench-beside                   # everything, medians of three
    make bench-beside ARGS=--quick      # C-STORE, STOW-RS, study and frames, once

Leadglass has TLS (web), encryption at rest, policy and ledger on, as users have them; Orthanc stands in clear, without
a login. Clients are prepared before the clock starts and are the same for both.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from dimse_world import CT, EXPLICIT, Client, pdata
from live_server import LiveServer
from orthanc_peer import Orthanc
from phantom import ct_slice, multipart, part10

from leadglass.dicom.command import encode_command

CONTEXTS = ((1, CT, (EXPLICIT,)),)
LARGEST = 131072  # bytes of a unit, where the server takes them
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


@dataclass(kw_only=True)
class Side:
    """One server as the clients see it."""

    name: str
    http: requests.Session
    web: str  # the DICOMweb root
    dicom_port: int
    ae_title: str
    headers: dict[str, str] = field(default_factory=dict)
    archive: Callable[[str], tuple[str, dict[str, str]]] = lambda study: (study, {})  # (URL, headers) of a study's ZIP


@dataclass(kw_only=True)
class Row:
    """One line of the table: both sides' figures, the ratio that counts, and what it should reach."""

    what: str
    ours: float
    peer: float
    unit: str
    is_time: bool  # less is better
    bar: float

    @property
    def ratio(self) -> float:
        return self.peer / self.ours if self.is_time else self.ours / self.peer


def new_study(count: int) -> list[Any]:
    """Return `count` CT slices of 512 x 512 of one new study."""
    first = ct_slice(size=512)
    return [ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, size=512, number=n, PatientName="Bench^Beside")
            for n in range(1, count + 1)]


# --- storing --------------------------------------------------------------------------------------------------
def step_of(side: Side) -> int:
    """Return how many bytes of a data set go into one unit: the server's own limit, at most LARGEST."""
    with Client(side.dicom_port) as client:
        _, accept = client.open(CONTEXTS, calling="CT1", called=side.ae_title, max_length=LARGEST)
        at = accept.rindex(b"\x51\x00\x00\x04") + 4
        client.release()
    return min(int.from_bytes(accept[at : at + 4], "big") or LARGEST, LARGEST) - 6


def prepared(ds: Any, step: int) -> bytes:
    """Return the whole C-STORE request of an instance, in units of `step` bytes."""
    data = part10(ds)
    start = 144 + int.from_bytes(data[140:144], "little")
    command = encode_command({
        "AffectedSOPClassUID": CT, "CommandField": 1, "MessageID": 1, "Priority": 0, "CommandDataSetType": 1,
        "AffectedSOPInstanceUID": str(ds.SOPInstanceUID)})
    body = memoryview(data)[start:]
    pieces = [pdata(1, command, is_command=True)]
    pieces += [pdata(1, bytes(body[at : at + step]), is_command=False, is_last=at + step >= len(body))
               for at in range(0, len(body), step)]
    return b"".join(pieces)


def c_store(side: Side, count: int, associations: int) -> float:
    """Return instances a second of a new study over `associations`, one C-STORE outstanding on each."""
    step = step_of(side)
    requests_ = [prepared(ds, step) for ds in new_study(count)]
    stored: list[int] = []

    def work(mine: list[bytes]) -> None:
        with Client(side.dicom_port) as client:
            client.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
            client.open(CONTEXTS, calling="CT1", called=side.ae_title, max_length=LARGEST)
            for request in mine:
                client.sock.sendall(request)
                stored.append(client.answer()["Status"])
            client.release()

    threads = [threading.Thread(target=work, args=(requests_[n::associations],)) for n in range(associations)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    assert stored == [0] * len(requests_), f"{side.name}: {stored.count(0)} of {len(requests_)} were stored"
    return len(requests_) / took


def stow(side: Side, files: list[bytes], batch: int) -> float:
    """Return instances a second by STOW-RS, `batch` an upload."""
    bodies = [multipart(files[at : at + batch]) for at in range(0, len(files), batch)]
    started = time.perf_counter()
    for body, headers in bodies:
        side.http.post(f"{side.web}/studies", data=body, headers=headers).raise_for_status()
    return len(files) / (time.perf_counter() - started)


# --- reading --------------------------------------------------------------------------------------------------
def fetch(side: Side, url: str, headers: dict[str, str]) -> tuple[float, int]:
    """Return (seconds, bytes) of one whole answer, through curl: a client that is faster than both servers."""
    lines = [f'header = "{k}: {v.replace(chr(34), chr(92) + chr(34))}"' for k, v in {**side.headers, **headers}.items()]
    if side.http.verify is not True:
        lines.append(f'cacert = "{side.http.verify}"')
    done = subprocess.run(  # the token goes by standard input, never by argv
        ["curl", "--silent", "--show-error", "--fail", "--http1.1", "--output", "/dev/null", "--config", "-",
         "--write-out", "%{time_total} %{size_download}", url],
        input="\n".join(lines), text=True, capture_output=True, check=True, timeout=300)
    seconds, size = done.stdout.split()
    return float(seconds), int(size)


def frames(side: Side, root: Path, study: str, slices: list[Any], seconds: int) -> tuple[float, float]:
    """Return (frames a second, p99 in ms) of 8 connections that walk through the study, by wrk."""
    series = slices[0].SeriesInstanceUID
    base = side.web.split("/", 3)[3]
    paths = ",".join(f'"/{base}/studies/{study}/series/{series}/instances/{ds.SOPInstanceUID}/frames/1"' for ds in slices)
    script = root / f"{side.name}.lua"
    script.touch(mode=0o600)
    named = "".join(f'wrk.headers["{k}"] = [[{v}]]\n' for k, v in {**side.headers, "Accept": OCTETS}.items())
    script.write_text(f"{named}local paths = {{{paths}}}\nlocal n = 0\n"
                      "request = function() n = n % #paths + 1; return wrk.format('GET', paths[n]) end\n")
    done = subprocess.run(["wrk", "-t2", "-c8", f"-d{seconds}s", "--latency", "-s", str(script), side.web], text=True,
                          capture_output=True, check=True, timeout=seconds + 60)
    script.unlink()
    assert "Non-2xx" not in done.stdout, f"{side.name}: {done.stdout}"
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    late = re.search(r"99%\s+([0-9.]+)(us|ms|s)", done.stdout)
    assert found, done.stdout
    assert late, done.stdout
    return float(found[1]), float(late[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[late[2]]


def repeated(rounds: int, measure: Callable[[Side], float], ours: Side, peer: Side) -> tuple[float, float]:
    """Return the medians of both sides, measured in turns."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, figures in zip((ours, peer), found, strict=True):
            figures.append(measure(side))
    return statistics.median(found[0]), statistics.median(found[1])


def _sides(live: LiveServer, orthanc: Orthanc) -> tuple[Side, Side]:
    script = live.script("bench")
    web = f"{live.url}/dicomweb"
    ours = Side(name="ours", http=script, web=web, dicom_port=live.dicom_port, ae_title="LEADGLASS",
                headers={"Authorization": str(script.headers["Authorization"])},
                archive=lambda study: (f"{web}/studies/{study}", {"Accept": "application/zip"}))
    plain = requests.Session()
    plain.trust_env = False

    def archive(study: str) -> tuple[str, dict[str, str]]:
        (known,) = plain.post(f"{orthanc.url}/tools/lookup", data=study).json()
        return f"{orthanc.url}{known['Path']}/archive", {}

    peer = Side(name="peer", http=plain, web=f"{orthanc.url}/dicom-web", dicom_port=orthanc.dicom_port,
                ae_title=orthanc.ae_title, archive=archive)
    return ours, peer


def rows(ours: Side, peer: Side, root: Path, *, count: int, rounds: int, is_quick: bool) -> list[Row]:
    """Measure everything; `count` instances each time, medians of `rounds`."""
    found = []
    for associations, bar in ((1, 8.0), (4, 4.0)) if is_quick else ((1, 8.0), (4, 4.0), (16, 1.5)):
        a, b = repeated(rounds, lambda s, k=associations: c_store(s, count, k), ours, peer)
        found.append(Row(what=f"C-STORE, {associations} association{'s' * (associations > 1)}", ours=a, peer=b, unit="instances/s",
                         is_time=False, bar=bar))
    a, b = repeated(rounds, lambda s: stow(s, [part10(ds) for ds in new_study(count)], 20), ours, peer)
    found.append(Row(what="STOW-RS, 20 an upload", ours=a, peer=b, unit="instances/s", is_time=False, bar=2.0))
    slices = new_study(count)
    study = str(slices[0].StudyInstanceUID)
    for side in (ours, peer):
        stow(side, [part10(ds) for ds in slices], 20)

    def rate(side: Side) -> float:
        seconds, size = fetch(side, f"{side.web}/studies/{study}", {"Accept": DICOM})
        return size / seconds / 1e6

    a, b = repeated(rounds, rate, ours, peer)
    found.append(Row(what="Study, WADO-RS", ours=a, peer=b, unit="MB/s", is_time=False, bar=1.0))
    both = [frames(side, root, study, slices, 5) for side in (ours, peer)]
    found.append(Row(what="Frames, 8 connections", ours=both[0][0], peer=both[1][0], unit="frames/s", is_time=False, bar=1.3))
    found.append(Row(what="Frames, p99", ours=both[0][1], peer=both[1][1], unit="ms", is_time=True, bar=2.0))
    if is_quick:
        return found
    found += _whole_answers(ours, peer, study, count, rounds)
    return found


def _whole_answers(ours: Side, peer: Side, study: str, count: int, rounds: int) -> list[Row]:
    """Metadata cold and warm, and the ZIP."""
    cold: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        fresh = new_study(count)
        for side, figures in zip((ours, peer), cold, strict=True):
            stow(side, [part10(ds) for ds in fresh], 20)
            figures.append(fetch(side, f"{side.web}/studies/{fresh[0].StudyInstanceUID}/metadata", {"Accept": "application/dicom+json"})[0])
    warm = repeated(rounds, lambda s: fetch(s, f"{s.web}/studies/{study}/metadata", {"Accept": "application/dicom+json"})[0], ours, peer)
    archive = repeated(1, lambda s: fetch(s, *s.archive(study))[0], ours, peer)
    return [
        Row(what="Metadata, first time", ours=statistics.median(cold[0]) * 1e3, peer=statistics.median(cold[1]) * 1e3, unit="ms",
            is_time=True, bar=5.0),
        Row(what="Metadata, again", ours=warm[0] * 1e3, peer=warm[1] * 1e3, unit="ms", is_time=True, bar=20.0),
        Row(what="ZIP of the study", ours=archive[0], peer=archive[1], unit="s", is_time=True, bar=20.0),
    ]


def run(*, is_quick: bool) -> list[Row]:
    """Start both, measure, stop both."""
    with tempfile.TemporaryDirectory(prefix="leadglass-beside-") as folder:
        root = Path(folder)
        live = LiveServer(root)
        live.run("devices", "add", "CT1", "--host", "127.0.0.1")
        live.start()
        try:
            with Orthanc(root, HttpThreadsCount=50, KeepAlive=True, TcpNoDelay=True) as orthanc:
                return rows(*_sides(live, orthanc), root, count=60 if is_quick else 300, rounds=1 if is_quick else 3, is_quick=is_quick)
        finally:
            live.stop()


def text_of(found: list[Row]) -> str:
    """Return the table."""
    lines = ["| work | Leadglass | Orthanc | ratio | to reach |", "|---|---|---|---|---|"]
    return "\n".join(lines + [
        f"| {r.what} | {r.ours:.4g} {r.unit} | {r.peer:.4g} {r.unit} | {r.ratio:.2f} x | {r.bar:g} x |" for r in found])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The same work on Leadglass and on Orthanc.")
    parser.add_argument("--quick", action="store_true", help="fewer instances, once")
    print(text_of(run(is_quick=parser.parse_args().quick)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
