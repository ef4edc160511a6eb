"""The loads of the benchmark: what a client does to either server, and how fast it went.

Everything is prepared before the clock starts, and the clients are the same for both servers: sockets for DICOM, requests
for uploads, curl for whole answers, wrk for many small ones. Figures are instances, bytes or answers a second.
"""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from dimse_world import CT, EXPLICIT, Client, pdata
from phantom import ct_slice, multipart, part10

from leadglass.dicom.command import encode_command

__all__ = ["Side", "Study", "archive", "c_store", "frames", "metadata", "new_study", "stow", "whole_study"]

CONTEXTS = ((1, CT, (EXPLICIT,)),)
LARGEST = 131072  # bytes of a unit, where the server takes them
BATCH = 20  # instances of one upload
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JSON = "application/dicom+json"


@dataclass(kw_only=True)
class Side:
    """One server as the clients see it."""

    name: str
    http: requests.Session
    web: str  # the DICOMweb root
    dicom_port: int
    ae_title: str
    archive: Callable[[str], tuple[str, dict[str, str]]]  # (URL, headers) of a study's ZIP
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study of the benchmark: CT slices of 512 x 512, 525 kB each."""

    uid: str
    series: str
    instances: list[str]
    files: list[bytes]  # Part 10


_slices: list[Any] = []


def new_study(count: int) -> Study:
    """Return a study that no server has seen: `count` slices under new identifiers, with the same pixels each time."""
    while len(_slices) < count:
        _slices.append(ct_slice(size=512, number=len(_slices) + 1, PatientName="Bench^Beside"))
    study, series = generate_uid(prefix=None), generate_uid(prefix=None)
    instances, files = [], []
    for ds in _slices[:count]:
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, f"{series}.9"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
        instances.append(str(ds.SOPInstanceUID))
        files.append(part10(ds))
    return Study(uid=str(study), series=str(series), instances=instances, files=files)


# --- storing --------------------------------------------------------------------------------------------------
def _step_of(side: Side) -> int:
    """Return how many bytes of a data set go into one unit: the server's own limit, at most LARGEST."""
    with Client(side.dicom_port) as client:
        _, accept = client.open(CONTEXTS, calling="CT1", called=side.ae_title, max_length=LARGEST)
        at = accept.rindex(b"\x51\x00\x00\x04") + 4
        client.release()
    return min(int.from_bytes(accept[at : at + 4], "big") or LARGEST, LARGEST) - 6


def _request(uid: str, data: bytes, step: int) -> bytes:
    """Return the whole C-STORE request of an instance, in units of `step` bytes."""
    start = 144 + int.from_bytes(data[140:144], "little")
    command = encode_command({
        "AffectedSOPClassUID": CT, "CommandField": 1, "MessageID": 1, "Priority": 0, "CommandDataSetType": 1,
        "AffectedSOPInstanceUID": uid})
    body = memoryview(data)[start:]
    pieces = [pdata(1, command, is_command=True)]
    pieces += [pdata(1, bytes(body[at : at + step]), is_command=False, is_last=at + step >= len(body))
               for at in range(0, len(body), step)]
    return b"".join(pieces)


def c_store(side: Side, study: Study, associations: int) -> float:
    """Return instances a second of a new study over `associations`, one C-STORE outstanding on each."""
    step = _step_of(side)
    prepared = [_request(uid, data, step) for uid, data in zip(study.instances, study.files, strict=True)]
    stored: list[int] = []

    def work(mine: list[bytes]) -> None:
        with Client(side.dicom_port) as client:
            client.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
            client.open(CONTEXTS, calling="CT1", called=side.ae_title, max_length=LARGEST)
            for request in mine:
                client.sock.sendall(request)
                stored.append(client.answer()["Status"])
            client.release()

    threads = [threading.Thread(target=work, args=(prepared[n::associations],)) for n in range(associations)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    assert stored == [0] * len(prepared), f"{side.name}: {stored.count(0)} of {len(prepared)} were stored"
    return len(prepared) / took


def stow(side: Side, study: Study) -> float:
    """Return instances a second by STOW-RS, BATCH an upload."""
    bodies = [multipart(study.files[at : at + BATCH]) for at in range(0, len(study.files), BATCH)]
    started = time.perf_counter()
    for body, headers in bodies:
        side.http.post(f"{side.web}/studies", data=body, headers=headers).raise_for_status()
    return len(study.files) / (time.perf_counter() - started)


# --- reading --------------------------------------------------------------------------------------------------
def _fetch(side: Side, url: str, headers: dict[str, str]) -> tuple[float, int]:
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


def whole_study(side: Side, study: Study) -> float:
    """Return MB/s of all files of a study in one answer, as stored."""
    seconds, size = _fetch(side, f"{side.web}/studies/{study.uid}", {"Accept": DICOM})
    assert size > sum(len(data) for data in study.files), f"{side.name}: only {size} bytes"
    return size / seconds / 1e6


def metadata(side: Side, study: Study) -> float:
    """Return the milliseconds of a study's whole metadata, as JSON that is not packed."""
    return _fetch(side, f"{side.web}/studies/{study.uid}/metadata", {"Accept": JSON})[0] * 1e3


def archive(side: Side, study: Study) -> float:
    """Return the seconds of a study as ZIP."""
    return _fetch(side, *side.archive(study.uid))[0]


def frames(side: Side, root: Path, study: Study, seconds: int) -> tuple[float, float]:
    """Return (frames a second, p99 in ms) of 8 connections that walk through the study, by wrk."""
    base = side.web.split("/", 3)[3]
    paths = ",".join(f'"/{base}/studies/{study.uid}/series/{study.series}/instances/{uid}/frames/1"' for uid in study.instances)
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
