"""Measure this machine: start, memory, what policy and ledger add to a view, storing, reading. Nothing is switched off.

    make bench          # writes docs/benchmarks.md
    make bench-quick    # smaller, writes nothing

Each figure is measured against a real server in its own processes, over TLS or DICOM, on the loopback.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from live_server import LiveServer  # noqa: E402
from phantom import ct_slice, multipart, part10  # noqa: E402

DOC = ROOT / "docs" / "benchmarks.md"


def median_ms(times: list[float]) -> float:
    return statistics.median(times) * 1000


def measure_start(live: LiveServer, rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        times.append(live.start())
        live.stop()
    return times


def measure_idle(live: LiveServer) -> int:
    """Memory of all processes, shared pages counted once (PSS), ten seconds after ready."""
    time.sleep(10)
    return live.pss_bytes()


def store_many(live: LiveServer, script: Any, studies: int) -> list[str]:
    """Store one small study each; return their UIDs."""
    found = []
    for first in range(0, studies, 50):
        batch = [ct_slice(number=n) for n in range(first, min(first + 50, studies))]
        body, headers = multipart([part10(d) for d in batch])
        script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
        found += [d.StudyInstanceUID for d in batch]
    return found


def measure_views(live: LiveServer, script: Any, uids: list[str]) -> tuple[list[float], list[float]]:
    """Return (first views, second views): the first is decided and recorded, the second goes under the same grant."""
    first, second = [], []
    script.get(f"{live.url}/dicomweb/studies/{uids[0]}/metadata").raise_for_status()
    for uid in uids[1:]:
        url = f"{live.url}/dicomweb/studies/{uid}/metadata"
        for times in (first, second):
            started = time.perf_counter()
            script.get(url).raise_for_status()
            times.append(time.perf_counter() - started)
    return first, second


def measure_door(live: LiveServer, uids: list[str]) -> tuple[list[float], list[float]]:
    """Return (policy decisions alone, decision with durable ledger entry and grant), inside one process."""
    script = f"""
import json, sys, time
from pathlib import Path
from leadglass.compose import Home
from leadglass.settings import load
from leadglass.terms import Action, Peer, Plane
from leadglass.access.search_scope import study_resource
with Home.open(load(Path({str(live.home)!r}))).house() as house:
    name = json.loads(sys.stdin.read())
    subject = house.entrance.bearer(name["token"], Peer(plane=Plane.WEB, address="127.0.0.1"))
    house.page.watch()
    decide, enter = [], []
    for uid in name["uids"]:
        a = time.perf_counter(); house.door.decide(subject, Action.STUDY_READ, study_resource(uid, None, 0.0))
        b = time.perf_counter(); house.operations.study(subject, uid); c = time.perf_counter()
        decide.append(b - a); enter.append(c - b)
    print(json.dumps([decide, enter]))
"""
    import json

    token = live.run("clients", "token", "script").stdout.strip()
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps({"token": token, "uids": uids}), text=True,
                          capture_output=True, env=live.environment, check=True, timeout=300)
    decide, enter = json.loads(done.stdout)
    return decide, enter


def measure_dicom(live: LiveServer, root: Path, count: int) -> tuple[float, int, str]:
    """Return (seconds, bytes, study) of storescu sending `count` CT slices of 512 x 512 in one association."""
    folder = root / "ct"
    folder.mkdir()
    first = ct_slice(size=512)
    size = 0
    for number in range(count):
        data = part10(ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, size=512, number=number))
        size += len(data)
        (folder / f"{number:04d}.dcm").write_bytes(data)
    started = time.perf_counter()
    subprocess.run(["/usr/bin/storescu", "+sd", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", str(live.dicom_port),
                    str(folder)], check=True, capture_output=True, timeout=600)
    return time.perf_counter() - started, size, first.StudyInstanceUID


def measure_get(script: Any, url: str, accept: str, rounds: int) -> tuple[float, int]:
    """Return (best seconds, bytes) of reading a whole answer."""
    best, size = float("inf"), 0
    for _ in range(rounds):
        started = time.perf_counter()
        size = 0
        with script.get(url, headers={"Accept": accept}, stream=True) as answer:
            answer.raise_for_status()
            for piece in answer.iter_content(1 << 20):
                size += len(piece)
        best = min(best, time.perf_counter() - started)
    return best, size


def run(*, quick: bool) -> list[tuple[str, str, str]]:
    """Return rows: what, figure, bound."""
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-") as folder:
        root = Path(folder)
        live = LiveServer(root)
        live.run("devices", "add", "CT1", "--host", "127.0.0.1")
        starts = measure_start(live, 3 if quick else 7)
        rows.append(("Start to ready, median", f"{statistics.median(starts):.2f} s (worst {max(starts):.2f} s)", "3 s"))
        live.start()
        rows.append(("Idle memory of all processes (PSS)", f"{measure_idle(live) / 1e6:.0f} MB", "400 MB"))
        script = live.script()
        uids = store_many(live, script, 60 if quick else 400)
        first, second = measure_views(live, script, uids)
        decide, enter = measure_door(live, uids)
        rows.append(("Policy decision, median", f"{median_ms(decide):.2f} ms", ""))
        rows.append(("Policy, durable ledger entry and grant of a first view, median", f"{median_ms(enter):.2f} ms", "5 ms"))
        rows.append(("First view over HTTPS (decided and recorded), median", f"{median_ms(first):.2f} ms", ""))
        rows.append(("Second view under the same grant, median", f"{median_ms(second):.2f} ms", ""))
        added = statistics.median(a - b for a, b in zip(first, second, strict=True)) * 1000
        rows.append(("What policy and ledger add to a view over HTTPS, median of differences", f"{added:.2f} ms", "5 ms"))
        count = 60 if quick else 300
        seconds, size, study = measure_dicom(live, root, count)
        rows.append((f"C-STORE of {count} CT slices by one storescu",
                     f"{size / seconds / 1e6:.0f} MB/s, {seconds / count * 1000:.1f} ms each", ""))
        url = f"{live.url}/dicomweb/studies/{study}"
        seconds, size = measure_get(script, url, 'multipart/related; type="application/dicom"', 3)
        rows.append(("That study over HTTPS, best of 3", f"{seconds:.2f} s, {size / seconds / 1e6:.0f} MB/s", ""))
        seconds, _ = measure_get(script, url + "/metadata", "application/dicom+json", 3)
        rows.append(("Its metadata, best of 3", f"{seconds * 1000:.0f} ms", ""))
        times = []
        for _ in range(100):
            started = time.perf_counter()
            script.get(f"{live.url}/dicomweb/studies", params={"PatientName": "Test*", "limit": "25"}).raise_for_status()
            times.append(time.perf_counter() - started)
        rows.append((f"QIDO-RS, 25 of {len(uids) + 1} studies, recorded, median", f"{median_ms(times):.1f} ms", ""))
        rows.append(("Memory of all processes after that (PSS)", f"{live.pss_bytes() / 1e6:.0f} MB", ""))
        live.stop()
    return rows


def text_of(rows: list[tuple[str, str, str]]) -> str:
    lines = ["| what | measured | bound |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {figure} | {bound} |" for what, figure, bound in rows])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure this machine.")
    parser.add_argument("--quick", action="store_true", help="smaller, and writes nothing")
    options = parser.parse_args()
    if not shutil.which("storescu") and not Path("/usr/bin/storescu").exists():
        print("storescu is missing: tools/debian-packages.sh installs it.", file=sys.stderr)
        return 1
    table = text_of(run(quick=options.quick))
    print(table)
    if not options.quick:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        DOC.write_text(
            "# Benchmarks\nMade by `make bench` (tools/bench.py): a real server in its own processes, on the loopback, with TLS,\n"
            "encryption, policy and ledger as users have them. Numbers of one run on one machine; compare ratios, not machines.\n\n"
            f"{datetime.now(UTC):%Y-%m-%d}, {machine}.\n\n{table}\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
