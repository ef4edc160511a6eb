"""What Leadglass costs by itself: its start, its memory at rest, and what policy and ledger add to a view."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from live_server import LiveServer
from phantom import ct_slice, multipart, part10

__all__ = ["measure_alone"]

_INSIDE = """
import json, sys, time
from pathlib import Path
from leadglass.compose import Home
from leadglass.settings import load
from leadglass.terms import Action, Peer, Plane
from leadglass.access.search_scope import study_resource
given = json.loads(sys.stdin.read())
with Home.open(load(Path(given["home"]))).house() as house:
    subject = house.entrance.bearer(given["token"], Peer(plane=Plane.WEB, address="127.0.0.1"))
    house.page.watch()
    decide, enter = [], []
    for uid in given["uids"]:
        a = time.perf_counter(); house.door.decide(subject, Action.STUDY_READ, study_resource(uid, None, 0.0))
        b = time.perf_counter(); house.operations.study(subject, uid); c = time.perf_counter()
        decide.append(b - a); enter.append(c - b)
    print(json.dumps([decide, enter]))
"""


def measure_alone(root: Path, *, starts: int = 7, studies: int = 200) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, bound)."""
    live = LiveServer(root)
    seconds = []
    for _ in range(starts):
        seconds.append(live.start())
        live.stop()
    live.start()
    time.sleep(10)
    idle = live.pss_bytes()
    script = live.script()
    uids = _store(live, script, studies)
    first, second = _views(live, script, uids)
    decide, enter = _door(live, uids)
    live.stop()
    added = statistics.median(a - b for a, b in zip(first, second, strict=True))
    return [
        ("Start to ready, median", f"{statistics.median(seconds):.2f} s (worst {max(seconds):.2f} s)", "3 s"),
        ("Memory of all processes ten seconds after the start (PSS)", f"{idle / 1e6:.0f} MB", "400 MB"),
        ("Policy decision, median", _ms(decide), ""),
        ("Policy, durable ledger entry and grant of a first view, median", _ms(enter), "5 ms"),
        ("First view of a small study's metadata over HTTPS, median", _ms(first), ""),
        ("The same again under the same grant, median", _ms(second), ""),
        ("What policy and ledger add to a view, median of differences", _ms([added]), "5 ms"),
    ]


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f} ms"


def _store(live: LiveServer, script: Any, studies: int) -> list[str]:
    """Store one small study each; return their UIDs."""
    found: list[str] = []
    for first in range(0, studies, 50):
        batch = [ct_slice(number=n) for n in range(first, min(first + 50, studies))]
        body, headers = multipart([part10(d) for d in batch])
        script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
        found += [d.StudyInstanceUID for d in batch]
    return found


def _views(live: LiveServer, script: Any, uids: list[str]) -> tuple[list[float], list[float]]:
    """Return seconds of (first views, second views): the first is decided and recorded, the second goes under its grant."""
    first: list[float] = []
    second: list[float] = []
    script.get(f"{live.url}/dicomweb/studies/{uids[0]}/metadata").raise_for_status()
    for uid in uids[1:]:
        for times in (first, second):
            started = time.perf_counter()
            script.get(f"{live.url}/dicomweb/studies/{uid}/metadata").raise_for_status()
            times.append(time.perf_counter() - started)
    return first, second


def _door(live: LiveServer, uids: list[str]) -> tuple[list[float], list[float]]:
    """Return seconds of (policy decisions alone, decision with durable ledger entry and grant), inside one process."""
    given = {"home": str(live.home), "token": live.run("clients", "token", "script").stdout.strip(), "uids": uids}
    done = subprocess.run([sys.executable, "-c", _INSIDE], input=json.dumps(given), text=True, capture_output=True,
                          env=live.environment, check=True, timeout=300)
    decide, enter = json.loads(done.stdout)
    return decide, enter
